"""The stage of deblurring that a recogniser of text guides: its words, its losses and its command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fastdiff.cli.main import main
from fastdiff.models.nafdpm import Predictor, Size
from fastdiff.training.docclean import fonts
from fastdiff.training.docclean.crnn import CHARACTERS, CRNN, HEIGHT, WIDTH, cut_words, decode, encode, freeze, read
from fastdiff.training.docclean.dataset import MIXTURES, Mixture
from fastdiff.training.docclean.ocr_stage import accuracy, guided_loss, text_loss
from fastdiff.training.docclean.text_patches import LONGEST, TextPatches

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_textures")]

TINY = ("--width", "4", "--levels", "2", "--batch", "2", "--pool", "2", "--task", "deblur")


def train(folder: Path, *options: object) -> int:
    return main(["train", "docclean", "--folder", str(folder), *TINY, *map(str, options)])


def drawn(count: int, profile: str = "clean") -> tuple[torch.Tensor, ...]:
    stream = iter(TextPatches(Mixture(profiles={profile: 1.0}), seed=3))
    return tuple(torch.stack(each) for each in zip(*(next(stream) for _ in range(count)), strict=True))


@pytest.fixture(scope="module")
def batch(few_textures: None) -> tuple[torch.Tensor, ...]:
    return drawn(24)


@pytest.fixture(scope="module")
def trained(few_textures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A predictor, and three steps of guidance on it."""
    folder = tmp_path_factory.mktemp("run")
    assert train(folder, "--stage", "predictor", "--steps", 1) == 0
    assert train(folder, "--stage", "ocr", "--steps", 3) == 0
    return folder


def test_the_recogniser_gives_31_distributions_over_characters_and_blank() -> None:
    scores = CRNN().eval()(torch.rand(3, 1, HEIGHT, WIDTH))
    assert scores.shape == (31, 3, 1 + len(CHARACTERS))
    assert torch.allclose(scores.exp().sum(dim=-1), torch.ones(31, 3), atol=1e-5)


def test_reading_joins_repeats_and_drops_blanks() -> None:
    assert decode(torch.tensor([*encode(CHARACTERS), 0, 0])) == CHARACTERS
    (a, b), blank = encode("ab"), 0
    classes = torch.tensor([a, a, blank, a, b, blank])
    assert read(torch.eye(1 + len(CHARACTERS))[classes][:, None]) == ["aab"]


def test_boxes_hold_whole_words_and_nothing_else(batch: tuple[torch.Tensor, ...]) -> None:
    _, clean, boxes, _, lengths = batch
    filled = lengths > 0
    assert filled.float().mean() > 0.3 and lengths.max() <= LONGEST
    assert boxes.min() >= 0 and boxes.max() <= clean.shape[-1]
    crops = cut_words(clean, boxes)[filled][:, 0]  # (n, HEIGHT, WIDTH)
    assert (crops.amin(dim=(1, 2)) < 0.6).all()  # all have ink
    wide = (boxes[filled][:, 2] - boxes[filled][:, 0]) * HEIGHT / (boxes[filled][:, 3] - boxes[filled][:, 1])
    for crop, breadth in zip(crops, wide, strict=True):
        ink = torch.nonzero(crop.amin(dim=0) < 0.7)[:, 0]
        across = min(float(breadth), WIDTH)
        assert ink.min() >= (WIDTH - across) / 2 - 1 and ink.max() <= (WIDTH + across) / 2 + 1
        assert ink.max() - ink.min() > 0.4 * across - 6  # the ink fills its box


def test_four_of_ten_words_hold_digits(batch: tuple[torch.Tensor, ...]) -> None:
    words = [decode(label) for label in batch[3][batch[4] > 0]]
    assert len(words) > 60 and np.mean([any(map(str.isdigit, word)) for word in words]) > 0.4


def test_words_are_drawn_in_fonts_that_are_not_held_out() -> None:
    assert not set(TextPatches(MIXTURES["deblur"], 0).families) & set(fonts.HELD_OUT)


def test_the_stream_of_a_seed_is_fixed() -> None:
    assert all(torch.equal(a, b) for a, b in zip(drawn(3, "blur"), drawn(3, "blur"), strict=True))


def test_the_recogniser_learns_a_few_words(batch: tuple[torch.Tensor, ...]) -> None:
    torch.manual_seed(0)
    _, clean, boxes, labels, lengths = (each[:2] for each in batch)
    net = CRNN()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    first = last = text_loss(net, clean, boxes, labels, lengths)
    for _ in range(40):
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
        last = text_loss(net, clean, boxes, labels, lengths)
    assert last < 0.25 * first


def test_the_text_loss_reaches_the_predictor_and_not_the_recogniser(batch: tuple[torch.Tensor, ...]) -> None:
    degraded, clean, *words = (each[:2] for each in batch)
    net, reader = Predictor(Size(1, 4, 2)), freeze(CRNN())
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    plain, guided = (guided_loss(reader, weight)(net, degraded, clean, *words) for weight in (0.0, 1.0))
    (guided - plain).backward()
    assert sum(float(value.grad.abs().sum()) for value in net.parameters() if value.grad is not None) > 0
    assert all(value.grad is None for value in reader.parameters())
    assert all(torch.equal(value, before[name]) for name, value in reader.state_dict().items())


def test_patches_without_words_cost_no_text(batch: tuple[torch.Tensor, ...]) -> None:
    _, clean, boxes, labels, lengths = batch
    assert text_loss(CRNN(), clean, boxes, labels, torch.zeros_like(lengths)) == 0


def test_accuracy_is_the_share_of_right_characters(batch: tuple[torch.Tensor, ...]) -> None:
    _, clean, boxes, labels, lengths = batch
    filled = labels[lengths > 0]

    def truth(crops: torch.Tensor) -> torch.Tensor:
        classes = torch.zeros(2 * LONGEST, len(filled), dtype=torch.long)
        classes[::2] = filled.T  # a blank after every character keeps doubled ones apart
        return torch.eye(1 + len(CHARACTERS))[classes]

    assert accuracy(truth, clean, boxes, labels, lengths) == 1  # type: ignore[arg-type]


def test_the_stage_leaves_a_predictor_that_docclean_reads(trained: Path, tmp_path: Path) -> None:
    packed, guided = load_file(trained / "docclean.safetensors"), load_file(trained / "ocr.safetensors")
    assert all(torch.equal(packed[f"predictor.{name}"], value) for name, value in guided.items())
    before = load_file(trained / "predictor.safetensors")
    assert any(not torch.equal(value, before[name]) for name, value in guided.items())
    Image.fromarray(np.full((64, 64), 220, np.uint8)).save(tmp_path / "scan.png")
    options = ["--ocr", "none", "--weights", str(trained / "docclean.safetensors"), "--force-clean"]
    assert main(["docclean", str(tmp_path / "scan.png"), "-o", str(tmp_path / "out"), *options]) == 0


def test_the_card_tells_the_guidance(trained: Path) -> None:
    made = json.loads((trained / "docclean.json").read_text())["recipe"]["predictor"]
    assert made["text_weight"] > 0 and made["crnn"]["steps"] == made["steps"] == 3
    assert made["crnn"]["fonts"] and 0.4 < made["crnn"]["parameters"] / 1e6 < 0.8
    assert made["start_from"]["recipe"] == json.loads((trained / "predictor.json").read_text())
    assert str(trained.parent) not in json.dumps(made)


def test_a_denoiser_trains_behind_the_guided_predictor_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("predictor.safetensors", "denoiser.safetensors"):
        (folder / name).write_bytes((trained / "predictor.safetensors").read_bytes())
    assert train(folder, "--stage", "ocr", "--steps", 1) == 2
    assert "train --stage denoiser again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--pages", "mine"], "text is known"),
        (["--task", "clean"], "--task deblur"),
        (["--task", "clean", "--colour"], "--task deblur"),
        ([], "needs a finished predictor"),
        (["--start-from", "nothing.safetensors"], "not a weights file"),
    ],
)
def test_wrong_usage_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--stage", "ocr", *options) == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told
