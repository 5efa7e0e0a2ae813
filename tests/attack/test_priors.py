"""Priors of the UNet families: folders made by the real classes, prompts, captions and losses on attention."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import tiny_flux
import tiny_pixart
import tiny_sana
import tiny_sd3
import tiny_unet
import torch
from diffusers import DDIMScheduler, LDMPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from fastdiff.apps.attack.attention import AttentionLosses, RecordedAttention, recording_attention
from fastdiff.apps.attack.latents import channel_weights, prepare
from fastdiff.apps.attack.presets import PRESETS
from fastdiff.apps.canvas import fit_canvas
from fastdiff.apps.edit.presets import PRESETS as EDITS
from fastdiff.apps.edit.sampling import Edit
from fastdiff.apps.images.picture import to_uint8
from fastdiff.cli.main import main
from fastdiff.models.captioner import LONGEST, REQUEST, load_captioner
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.registry import load_editable, load_model
from fastdiff.models.scheduler_config import TrainedScheduler
from fastdiff.models.unconditional import Unconditional
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Level, LinearVP

SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_stable_diffusion(tmp_path_factory.mktemp("prior") / "xl", xl=True)


@pytest.fixture(scope="module")
def pixart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("prior") / "pixart", sample_size=8)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3.write(tmp_path_factory.mktemp("prior") / "sd3")


@pytest.fixture(scope="module")
def sana(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sana.write(tmp_path_factory.mktemp("prior") / "sana")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.write(tmp_path_factory.mktemp("prior") / "flux")


def pictures(count: int = 1, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def level(folder: Path) -> Level:
    schedule = load_model(str(folder)).trained.schedule
    return schedule.level(0.5)


def test_unconditional_priors_are_those_of_diffusers(prior: Path) -> None:
    ours = load_model(str(prior))
    assert isinstance(ours, Unconditional)
    assert not ours.text_conditioned and (ours.resolution, ours.size_multiple) == (64, 16)
    pipeline = LDMPipeline(ours.vae, ours.network, DDIMScheduler())
    latents = ours.encode(pictures())
    at = level(prior)
    with torch.no_grad():
        v = pipeline.unet(latents, torch.tensor([ours.trained.timestep(at)])).sample
        estimate = guided_denoiser(ours, ours.encode_prompts([""]), 4.5, (64, 64))(latents, at)
    torch.testing.assert_close(estimate.x0, at.alpha * latents - at.sigma * v)
    assert load_model(str(prior), dtype=torch.bfloat16).encode(pictures()).dtype == torch.float32


@pytest.mark.parametrize("guidance", [1.0, 4.5])
def test_stable_diffusion_is_that_of_diffusers(guidance: float, stable_diffusion: Path) -> None:
    ours, theirs = load_model(str(stable_diffusion)), StableDiffusionPipeline.from_pretrained(stable_diffusion)
    given, nothing = theirs.encode_prompt("a fox", "cpu", 1, True)
    compare(ours, theirs.unet, given, nothing, guidance, lambda rows: {})


@pytest.mark.parametrize("guidance", [1.0, 4.5])
def test_stable_diffusion_xl_is_that_of_diffusers(guidance: float, xl: Path) -> None:
    ours, theirs = load_model(str(xl)), StableDiffusionXLPipeline.from_pretrained(xl)
    given, nothing, pooled, pooled_nothing = theirs.encode_prompt("a fox", device=torch.device("cpu"))
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
    compare(
        ours,
        theirs.unet,
        given,
        nothing,
        guidance,
        lambda without: {"text_embeds": pooled_nothing if without else pooled, "time_ids": sizes},
    )


def test_a_distilled_network_embeds_the_guidance_scale(tmp_path: Path) -> None:
    folder = tiny_unet.write_stable_diffusion(tmp_path / "tiny", time_cond_proj_dim=8)
    ours, theirs = load_model(str(folder)), StableDiffusionPipeline.from_pretrained(folder)
    given, _ = theirs.encode_prompt("a fox", "cpu", 1, False)
    latents, at = ours.encode(pictures()), ours.trained.schedule.level(0.5)
    label, outputs = torch.tensor([ours.trained.timestep(at)]), []
    for scale in (1.0, 7.5):
        condition = theirs.get_guidance_scale_embedding(torch.tensor([scale - 1]), 8)
        with torch.no_grad():
            outputs.append(theirs.unet(latents, label, given, timestep_cond=condition).sample)
            estimate = guided_denoiser(ours, ours.encode_prompts(["a fox"]), scale, (64, 64))(latents, at)
        torch.testing.assert_close(estimate.eps, outputs[-1], rtol=1e-4, atol=1e-4)
    assert ours.guidance_kind == "embedded" and (outputs[0] - outputs[1]).abs().max() > 1e-3


def compare(ours: Any, unet: nn.Module, given: Any, nothing: Any, guidance: float, frame: Any) -> None:
    latents, at = ours.encode(pictures()), ours.trained.schedule.level(0.5)
    label = torch.tensor([ours.trained.timestep(at)])
    with torch.no_grad():
        with_words = unet(latents, label, given, added_cond_kwargs=frame(False)).sample
        without = unet(latents, label, nothing, added_cond_kwargs=frame(True)).sample
        estimate = guided_denoiser(ours, ours.encode_prompts(["a fox"]), guidance, (64, 64))(latents, at)
    assert (with_words - without).abs().max() > 1e-4
    torch.testing.assert_close(estimate.eps, without + guidance * (with_words - without), rtol=1e-4, atol=1e-4)


def test_some_rows_of_prompts(xl: Path) -> None:
    ours = load_model(str(xl))
    both, second = ours.encode_prompts(["a fox", "the cat sat"]), ours.encode_prompts(["the cat sat"])
    picked = both.take([1])
    torch.testing.assert_close(picked.embeddings, second.embeddings)
    torch.testing.assert_close(picked.pooled, second.pooled)
    assert picked.words == second.words and [word.text for word in picked.words[0]] == ["the", "cat", "sat"]


def test_editing_refuses_what_follows_no_prompts(prior: Path) -> None:
    with pytest.raises(UsageError, match="is a LDMPipeline: one of PixArtAlphaPipeline"):
        load_editable(str(prior))


def test_folders_that_do_not_fit_are_refused(stable_diffusion: Path, prior: Path, tmp_path: Path) -> None:
    for source, part, told in ((prior, "unet", "48 channels are wanted"), (stable_diffusion, "unet", "do not fit")):
        folder = Path(shutil.copytree(source, tmp_path / told.replace(" ", "-")))
        other = tiny_unet.write_stable_diffusion(tmp_path / f"xl-{told[:2]}", xl=True)
        shutil.rmtree(folder / ("vqvae" if source is prior else part))
        shutil.copytree(other / ("vae" if source is prior else part), folder / ("vqvae" if source is prior else part))
        index = json.loads((folder / "model_index.json").read_text())
        if source is prior:
            index["vqvae"] = ["diffusers", "AutoencoderKL"]
        (folder / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(UsageError, match=told):
            load_model(str(folder))


def test_models_show_knows_priors(prior: Path, xl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(prior)]) == main(["models", "show", str(xl)]) == 0
    told = capsys.readouterr().out
    for each in ("LDMPipeline", "vqvae (fastdiff.models.patch_codec.PatchCodec): 0.0", "64x64", "text_encoder_2"):
        assert each in told


def attack(photo: Path, model: Path, *arguments: object) -> dict[str, Any]:
    assert main(["attack", str(photo), "--model", str(model), "--force", *map(str, arguments)]) == 0
    (image,) = json.loads(photo.with_name("cat-attack-report.json").read_text())["images"]
    return image


FEW = ("--steps", 2, "--iterations", 2)


@pytest.mark.parametrize("method", ["natural", "sca-official", "diffattack"])
def test_attacks_inside_priors_that_hear(method: str, stable_diffusion: Path, photo: Path, colours: str) -> None:
    image = attack(photo, stable_diffusion, "--classifier", colours, "--method", method, *FEW)
    assert image["caption"] == f"a photo of a {image['true_name']}" and image["linf"] > 0
    assert "is not text-conditioned" not in (image["reason"] or "")
    if method != "diffattack":  # whose inversion is not exact
        assert image["roundtrip_error"] <= 1e-4  # rounding: states are inverted in a batch and sampled one by one


def test_an_attack_inside_xl(xl: Path, photo: Path, colours: str) -> None:
    assert attack(photo, xl, "--classifier", colours, "--method", "sca-strong", *FEW)["linf"] > 0


FLUX = pytest.param("flux", marks=pytest.mark.slow)  # on pictures of 256 pixels


@pytest.mark.parametrize("family", ["pixart", "stable_diffusion", "xl", "sd3", "sana", FLUX, "prior"])
def test_every_family_runs_in_attack_through_one_contract(
    family: str, request: pytest.FixtureRequest, photo: Path, colours: str
) -> None:
    image = attack(photo, request.getfixturevalue(family), "--classifier", colours, "--method", "sca-strong", *FEW)
    assert image["status"] == "attacked" and image["calls"] > 0 and image["linf"] > 0


@pytest.mark.parametrize("family", ["sd3", "sana"])
def test_the_default_method_runs_on_flow_models(
    family: str, request: pytest.FixtureRequest, photo: Path, colours: str
) -> None:
    image = attack(photo, request.getfixturevalue(family), "--classifier", colours, *FEW)
    assert image["status"] == "attacked" and image["linf"] > 0 and image["roundtrip_error"] <= 1e-3


@pytest.mark.parametrize("family", ["sd3", "sana"])
def test_losses_on_attention_are_refused_where_no_layer_has_them(
    family: str, request: pytest.FixtureRequest, photo: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(request.getfixturevalue(family))
    way = ("--classifier", colours, "--method", "diffattack", *map(str, FEW), "--force")
    assert main(["attack", str(photo), "--model", model, *way]) == 2
    told = capsys.readouterr()
    assert "has no attention at a quarter of its latents' sides" in told.out + told.err
    assert "give --method natural" in told.out + told.err


@pytest.mark.parametrize("method", ["natural", "sca-strong"])
def test_the_schedule_is_that_of_the_size_of_the_picture(method: str, prior: Path) -> None:
    ours, sizes = load_model(str(prior)), list[tuple[int, int]]()
    assert isinstance(ours, Unconditional)

    class Shifted(Unconditional):
        def scheduler(self, size: tuple[int, int]) -> TrainedScheduler:
            sizes.append(size)
            return replace(ours.trained, schedule=LinearVP())

    model = Shifted(**{each.name: getattr(ours, each.name) for each in fields(ours)})
    canvas = fit_canvas(pictures(2, 96), 64, ours.size_multiple)
    with torch.no_grad():
        space, _ = prepare(model, PRESETS[method], canvas, ["", ""], Noise(0, (0, 1)))
    assert set(sizes) == {canvas.scaled}
    assert all(level == LinearVP().level(level.t) for level in space.sample.inversion.grid)


def test_components_have_fingerprints_of_their_own(xl: Path, stable_diffusion: Path, tmp_path: Path) -> None:
    ours, copy = load_model(str(xl)), Path(shutil.copytree(xl, tmp_path / "copy"))
    config = copy / "text_encoder" / "config.json"
    config.write_text(config.read_text() + " ")
    theirs = load_model(str(copy))
    parts = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer")
    assert isinstance(ours, LatentDiffusionModel) and isinstance(theirs, LatentDiffusionModel)
    before, after = ({part: each.components.fingerprint(part) for part in parts} for each in (ours, theirs))
    assert {part for part in parts if before[part] != after[part]} == {"text_encoder"}
    assert len(set(before.values())) == len(parts)


def test_captions(stable_diffusion: Path, photo: Path, colours: str) -> None:
    way = ("--classifier", colours, "--iterations", 0)
    assert attack(photo, stable_diffusion, *way, "--caption", "a cat asleep")["caption"] == "a cat asleep"
    listed = photo.with_name("captions.json")
    listed.write_text(json.dumps({"cat.png": "a cat awake"}))
    assert attack(photo, stable_diffusion, *way, "--caption-file", listed)["caption"] == "a cat awake"
    listed.write_text(json.dumps({"dog.png": "a dog"}))
    assert main(["attack", str(photo), "--model", str(stable_diffusion), *way[:2], "--caption-file", str(listed)]) == 2


def test_a_captioning_model(stable_diffusion: Path, photo: Path, colours: str, tmp_path: Path) -> None:
    folder = tmp_path / "blip"
    torch.manual_seed(0)
    words = tokenizer()
    special = {"bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3}
    text = SMALL | special | {"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 80}
    BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=SMALL | {"image_size": 32, "patch_size": 16}, projection_dim=16)
    ).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), words).save_pretrained(folder)
    way = ("--classifier", colours, "--iterations", 0, "--captioner", folder)
    said = [attack(photo, stable_diffusion, *way)["caption"] for _ in range(2)]
    assert said[0] and said[0] == said[1] and set(said[0].split()) <= set(WORDS)
    (folder / "model.safetensors").unlink()
    assert main(["attack", str(photo), "--model", str(stable_diffusion), *map(str, way), "--force"]) == 2


def test_a_captioning_model_that_is_talked_to(tmp_path: Path) -> None:
    torch.manual_seed(0)
    asked = f"USER {REQUEST} ASSISTANT".replace(".", " .")
    words = tokenizer("<image>", *dict.fromkeys(asked.split()))
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=32, patch_size=16),
        text_config=LlamaConfig(**SMALL, vocab_size=len(words), bos_token_id=2, eos_token_id=3, pad_token_id=0),
        image_token_index=words.get_vocab()["<image>"],
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    template = (
        "{% for part in messages[0]['content'] %}{{ 'USER <image> ' if part['type'] == 'image' else part['text'] }}"
        "{% endfor %}{{ ' ASSISTANT' if add_generation_prompt }}"
    )
    eyes = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(eyes, words, 16, "default", template, num_additional_image_tokens=1).save_pretrained(tmp_path)
    captioner = load_captioner(str(tmp_path))
    said = captioner(pictures())
    image = Image.fromarray(to_uint8(pictures()[0]))
    given = captioner.processor(images=image, text=asked.replace("USER", "USER <image>"), return_tensors="pt")
    with torch.no_grad():
        whole = captioner.model.generate(**given, max_new_tokens=LONGEST, do_sample=False)
    assert said and captioner.processor.decode(whole[0], skip_special_tokens=True) == f"{asked} {said}"


WORDS = ("a", "fox", "cat", "dog", "and", "on", "grass")


def tokenizer(*more: str) -> PreTrainedTokenizerFast:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *more]
    words = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **names)


def test_channels_that_move_pixels_more_move_less(prior: Path) -> None:
    ours = load_model(str(prior))
    assert isinstance(ours, Unconditional)
    even, half, none = (channel_weights(ours, 48, share).flatten() for share in (1.0, 0.5, 0.0))
    effect = ours.vae.deviation.detach()
    torch.testing.assert_close(even * effect, (even * effect).mean().expand(48), rtol=1e-3, atol=0)
    torch.testing.assert_close(half.square() * effect, (half.square() * effect).mean().expand(48), rtol=1e-3, atol=0)
    assert none.eq(1).all() and even.square().mean() == pytest.approx(1, rel=1e-5)


def test_attention_is_heard_and_left_as_it_was(stable_diffusion: Path) -> None:
    ours = load_model(str(stable_diffusion))
    latents, prompts = ours.encode(pictures(2)), ours.encode_prompts(["a fox", "cats"])
    f, at = guided_denoiser(ours, prompts, 4.5, (64, 64)), ours.trained.schedule.level(0.5)
    with torch.no_grad():
        before = f(latents, at).eps
        with recording_attention(ours.network, 64) as recorder:
            with recorder.recording(2):
                torch.testing.assert_close(f(latents, at).eps, before)
            f(latents, at)  # not written down
        recorded = recorder.recorded()
        again = f(latents, at).eps
    assert torch.equal(again, before)
    assert {each.shape for each in recorded.cross} == {(2, 64, tiny_unet.LENGTH)}
    assert {each.shape for each in recorded.own} == {(2, 64, 64)}
    for each in (*recorded.cross, *recorded.own):
        torch.testing.assert_close(each.sum(-1), torch.ones(2, 64))
    assert recorded.distance(recorded).eq(0).all()


def test_losses_on_attention() -> None:
    even, uneven = torch.full((1, 4, 3), 0.25), torch.zeros(1, 4, 3)
    uneven[0, 0] = 1
    own = torch.eye(4)[None]
    clean = RecordedAttention((even,), (own,))
    words = torch.tensor([[0.0, 1.0, 1.0]])
    assert clean.distraction(words).tolist() == [0]
    assert RecordedAttention((uneven,), (own,)).distraction(words).tolist() == [pytest.approx(3 / 16)]
    assert RecordedAttention((even,), (own + 0.5,)).distance(clean).tolist() == [pytest.approx(0.25)]


def test_both_losses_are_lowered_through_the_network(stable_diffusion: Path) -> None:
    ours = load_model(str(stable_diffusion))
    preset = replace(PRESETS["diffattack"], steps=2, distraction=1.0, structure=1.0)
    canvas = fit_canvas(pictures(2), 64, ours.size_multiple)
    with torch.no_grad(), recording_attention(ours.network, 64) as recorder:
        space, _ = prepare(ours, preset, canvas, ["a fox", "a cat"], Noise(0, (0, 1)), recorder)
        assert isinstance(space.attention_losses, AttentionLosses)
        delta = 0.1 * torch.randn(space.unperturbed.shape, generator=torch.Generator().manual_seed(1))

        def cost(delta: torch.Tensor) -> float:
            space.sampled(delta)
            assert space.attention_losses is not None
            return float(space.attention_losses.value().sum())

        latents, pull = space.sampled(delta)
        gradient = pull(torch.zeros_like(latents))
        assert gradient.abs().max() > 0
        step = 1e-2 * gradient / gradient.norm()
        assert cost(delta + step) < cost(delta) < cost(delta - step)
        one = space.take(torch.tensor([1]))
        alone = one.sampled(delta[[1]])[1](torch.zeros_like(latents[:1]))
    torch.testing.assert_close(alone, gradient[[1]], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("inversion", ["ledits", "edit-friendly"])
def test_a_recorded_inversion_costs_as_many_calls_as_in_an_edit(inversion: Literal["ledits"], tmp_path: Path) -> None:
    ours = load_editable(str(tiny_pixart.write(tmp_path / "tiny")))
    steps, watched = 10, list[int]()
    canvas = fit_canvas(pictures(1), 64, ours.size_multiple)
    attack = replace(PRESETS["sca-strong"], inversion=inversion, steps=steps, landing=False, guidance=1.0)
    edit = replace(EDITS["ledits"], inversion=inversion, steps=steps, strength=attack.strength)
    prompts = ours.encode_prompts(["a fox"])
    with torch.inference_mode():
        latents = ours.encode(canvas.picture)
        Edit(ours, edit, latents, canvas.scaled, prompts, prompts, seed=0).invert(watched.append)
        space, _ = prepare(ours, attack, canvas, ["a fox"], Noise(0, (0,)))
    assert len(watched) == 2
    assert space.calls == len(watched) + steps
