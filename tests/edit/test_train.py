"""Training the backbone through its command, to a folder that diffusers itself loads and samples from."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_pixart
import torch
from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import T5EncoderModel

from fastdiff.cli.main import main
from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.patch_codec import PatchCodec, fit
from fastdiff.models.registry import load_editable
from fastdiff.models.scheduler_config import read_scheduler_config
from fastdiff.solvers.schedule import DiscreteVP
from fastdiff.training.edit import dataset
from fastdiff.training.edit.backbone import LONGEST, Backbone, tokenizer
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.dataset import LatentCache, SceneEncoder, shortened
from fastdiff.training.edit.render import Renderer, emoji_font
from fastdiff.training.edit.scenes import Background
from fastdiff.training.velocity import component_weight, encode, scheduler, velocity_loss

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def quick_muon() -> Iterator[None]:
    """One Newton-Schulz step in place of five: they take most of a step on CPUs that do not multiply bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Muon", partial(torch.optim.Muon, ns_steps=1))
        yield


def train(folder: Path, *options: object) -> int:
    return main(["train", "edit", "--folder", str(folder), "--batch", "2", *map(str, options)])


def state(folder: Path) -> dict:
    return torch.load(folder / "backbone.state.pt", weights_only=True)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert train(folder, "--steps", 2) == 0
    return folder


@pytest.fixture(scope="module")
def trained(stopped: Path) -> tuple[dict, Path]:
    """The state after two steps, and the folder after one more."""
    before = state(stopped)
    assert train(stopped, "--steps", 3) == 0
    return before, stopped


def test_a_run_goes_on_where_it_stopped(trained: tuple[dict, Path]) -> None:
    before, after = trained[0], state(trained[1])
    assert (before["step"], after["step"]) == (2, 3)
    moved = [(after["net"][name] - value).abs().max().item() for name, value in before["net"].items()]
    assert 0 < max(moved) < 1e-3  # one step of the warm-up, not a new start


def test_the_real_classes_load_the_folder(trained: tuple[dict, Path]) -> None:
    folder, average = trained[1] / "scenes", state(trained[1])["average"]
    pipeline = PixArtAlphaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.transformer, PixArtTransformer2DModel)
    assert isinstance(pipeline.text_encoder, T5EncoderModel) and isinstance(pipeline.vae, PatchCodec)
    for name, value in pipeline.transformer.state_dict().items():
        assert torch.equal(value, average[f"transformer.{name}"].half().float())
    prompt = "fox on a teal background"
    picture = pipeline(prompt, num_inference_steps=2, clean_caption=False, use_resolution_binning=False).images[0]
    assert picture.size == (128, 128)


def test_a_run_begins_with_a_finished_backbone_and_its_card_says_so(trained: tuple[dict, Path], tmp_path: Path) -> None:
    first = trained[1] / "scenes"
    assert train(tmp_path, "--steps", 1, "--start-from", first) == 0
    prepared, average = state(tmp_path)["net"], state(trained[1])["average"]
    moved = [(prepared[name] - value).abs().max().item() for name, value in average.items()]
    assert 0 < max(moved) < 1e-3  # half precision, and one step of the warm-up
    for part in ("codec", "scenes/vae"):
        again, codec = PatchCodec.from_pretrained(tmp_path / part), PatchCodec.from_pretrained(first / "vae")
        assert torch.equal(again.components, codec.components)
    recipe = json.loads((tmp_path / "scenes" / "card.json").read_text())["recipe"]
    assert recipe["start_from"]["recipe"]["steps"] == 3


def test_a_beginning_without_a_card_is_one_too(trained: tuple[dict, Path], tmp_path: Path) -> None:
    first = shutil.copytree(trained[1] / "scenes", tmp_path / "bare")
    (first / "card.json").unlink()
    assert train(tmp_path / "run", "--steps", 1, "--start-from", first) == 0
    recipe = json.loads((tmp_path / "run" / "scenes" / "card.json").read_text())["recipe"]
    assert recipe["start_from"]["file"] == "bare" and not recipe["start_from"]["recipe"]


def test_a_backbone_of_another_size_is_no_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pixart.write(tmp_path / "tiny")
    assert train(tmp_path / "run", "--steps", 1, "--start-from", tmp_path / "tiny") == 2
    assert "no backbone of scenes" in capsys.readouterr().err


def test_the_folder_is_small_and_its_card_true(trained: tuple[dict, Path]) -> None:
    folder = trained[1] / "scenes"
    card = json.loads((folder / "card.json").read_text())
    assert card["bytes"] < 30e6 and card["recipe"]["steps"] == 3 and card["data"]["font"]["licence"] == "OFL-1.1"
    assert set(card["data"]["concepts"]) == set(CONCEPTS)
    for part in ("transformer", "text_encoder"):
        weights = load_file(next((folder / part).glob("*.safetensors")))
        assert {value.dtype for value in weights.values()} == {torch.float16}
        assert sum(value.numel() for value in weights.values()) == card["parameters"][part]
    assert not any(str(trained[1].parent) in config.read_text() for config in folder.rglob("*.json"))


class KnowsThePicture(nn.Module):
    """Solves x_t = alpha x0 + sigma eps for the noise, given x0."""

    def __init__(self, clean: Tensor):
        super().__init__()
        self.clean, self.abar = clean, scheduler().alphas_cumprod

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        alpha, sigma = (share.sqrt()[:, None, None, None] for share in (self.abar[t], 1 - self.abar[t]))
        return alpha * (noisy - alpha * self.clean) / sigma - sigma * self.clean


def test_the_loss_is_nothing_for_who_knows_the_picture_and_one_for_who_knows_nothing(pictures: Tensor) -> None:
    codec = fit([pictures])
    latents = encode(codec, pictures)
    tokens = torch.zeros(len(pictures), LONGEST, dtype=torch.long)
    torch.manual_seed(0)
    for weight in (None, component_weight(codec)):
        loss = velocity_loss(scheduler().alphas_cumprod, weight=weight)
        assert loss(KnowsThePicture(latents), latents, tokens) < 1e-6
        assert loss(lambda noisy, t, tokens: torch.zeros_like(noisy), latents, tokens) == pytest.approx(1, abs=0.05)


def test_shared_labels_are_trained_with_and_remembered(pictures: Tensor, tmp_path: Path) -> None:
    asked: list[Tensor] = []

    def net(noisy: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
        asked.append(labels)
        return torch.zeros_like(noisy)

    tokens = torch.zeros(len(pictures), LONGEST, dtype=torch.long)
    loss = velocity_loss(scheduler().alphas_cumprod, shared_labels=900)
    for _ in range(4):
        loss(net, torch.zeros(len(pictures), 1, 1, 1), tokens)
    labels = torch.cat(asked)
    assert set(labels[labels < 900].tolist()) <= {0, 180, 360, 540, 720} and len(labels[labels < 900].unique()) > 1
    scheduler(900).save_pretrained(tmp_path / "scheduler")
    trained = read_scheduler_config(tmp_path / "scheduler")
    table = trained.schedule
    assert isinstance(table, DiscreteVP)
    assert [trained.timestep(table.at_timestep(label)) for label in (200.5, 899.5, 950.5)] == [
        180,
        720,
        pytest.approx(950.5),
    ]


def test_an_untrained_backbone_predicts_nothing_and_hears_every_word() -> None:
    net = Backbone(len(tokenizer()), 48, 16)
    noisy, tokens = torch.randn(2, 48, 16, 16), torch.tensor([[5, 6, 1, 0], [7, 8, 9, 1]])
    predicted = net(noisy, torch.tensor([10, 900]), tokens)
    assert torch.equal(predicted, torch.zeros_like(noisy))
    predicted.sum().backward()
    assert net.transformer.proj_out.bias.grad.abs().min() > 0


def test_the_tokenizer_knows_every_caption_and_points_back_at_its_words() -> None:
    words = tokenizer()
    longest = Background("checkered", ("orange", "yellow")).phrase
    for concept in CONCEPTS:
        ids = words(f"{concept} on {longest}").input_ids
        assert words.unk_token_id not in ids and len(ids) <= LONGEST
    caption = "A Fox, on teal"
    told = words(caption, return_offsets_mapping=True)
    pieces = [caption[start:end].lower() for start, end in told.offset_mapping]
    assert pieces == ["a", "fox", ",", "on", "teal", ""]
    assert told.input_ids[2] == words.unk_token_id and told.input_ids[-1] == words.eos_token_id


@pytest.fixture
def encoder(renderer: Renderer, pictures: Tensor) -> SceneEncoder:
    return SceneEncoder(emoji_font(), fit([pictures[:50]]), tokenizer(), (0,))


def test_poses_widen_as_the_cache_grows(encoder: SceneEncoder) -> None:
    latents = encoder(40, spread=0.0)[0]
    corners = encoder.codec.decode(latents, return_dict=False)[0][:, :, :6, :6]
    assert corners.std((2, 3)).max(dim=1).values.median() < 0.2


def test_encoded_scenes_are_reused_and_survive_a_stop(
    encoder: SceneEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ALL_NEW", 2)
    monkeypatch.setattr(dataset, "CACHE_BYTES", 2 * 48 * 16 * 16 * 20)  # twenty scenes
    cache = LatentCache(tmp_path, encoder, (48, 16, 16))
    stream = cache.batches(8)
    counts = []
    for _ in range(5):
        latents, tokens = next(stream)
        assert latents.shape == (8, 48, 16, 16) and tokens.shape == (8, LONGEST)
        counts.append(cache.count)
    assert counts == [8, 16, 18, 20, 20]
    assert isinstance(cache.latents, np.memmap)
    cache.latents.flush()
    again = LatentCache(tmp_path, encoder, (48, 16, 16))
    assert again.count == 20 and np.array_equal(again.latents, cache.latents) and again.latents[:20].any(axis=1).any()


def test_some_captions_are_empty_and_some_name_the_concept_alone() -> None:
    words = tokenizer()
    caption, concept, end = "red heart on a teal background", "red heart", words.eos_token_id
    tokens = torch.tensor(words([caption] * 3, padding="max_length", max_length=LONGEST).input_ids)
    lengths, chances = torch.full((3,), 2), torch.tensor([0.05, 0.2, 0.5])
    empty, alone, whole = shortened(tokens, lengths, chances, end).tolist()
    assert empty == words("", padding="max_length", max_length=LONGEST).input_ids
    assert alone == words(concept, padding="max_length", max_length=LONGEST).input_ids
    assert whole == tokens[0].tolist()


def test_a_backbone_is_trained_on_a_learned_codec(renderer: Renderer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ConvCodec().save_pretrained(tmp_path / "vae")
    assert train(tmp_path / "run", "--steps", 1, "--codec", tmp_path / "vae") == 0
    ours = load_editable(str(tmp_path / "run" / "scenes"))
    assert ours.resolution == 128 and ours.encode(torch.zeros(1, 3, 128, 128)).shape == (1, 32, 8, 8)
    assert ours.map_grid(torch.zeros(1, 32, 8, 8)) == (8, 8)
    weights = load_file(tmp_path / "run" / "scenes" / "vae" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
    card = (tmp_path / "run" / "scenes" / "card.json").read_text()
    assert "Infinity" not in card and json.loads(card)["bytes"] < 30e6


def test_a_folder_without_a_codec_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert train(tmp_path / "run", "--steps", 1, "--codec", tmp_path) == 2
    assert "no codec of scenes" in capsys.readouterr().err


def test_no_font_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--font", tmp_path / "none.ttf") == 3
    assert "fonts-noto-color-emoji" in capsys.readouterr().err
