"""Networks of three channels: begun with grey ones, trained by the command, and around colour and grey pages."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pages import text_page
from PIL import Image
from safetensors.torch import load_file, save_file

from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.cli.main import main
from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size, in_colour, load
from fastdiff.training.docclean.colour_page import ColourPage
from fastdiff.training.docclean.colour_pool import store
from fastdiff.training.docclean.pool import SIDE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_textures")]

SHIFT = (-0.2, 0.0, 0.1)  # of red, green and blue, by the network below
AWAY = np.ones((300, 280), np.bool_)  # from the edges of the box of `page`: edges and corners may count as strokes
AWAY[44:206, 34:196] = False
AWAY[56:194, 46:184] = True


def weights(folder: Path, size: Size, bias: tuple[float, ...]) -> Path:
    """A predictor that adds `bias` to the channels of its input, and a denoiser that finds no residual."""
    tensors = dict[str, torch.Tensor]()
    for name, net, shift in (("predictor", Predictor(size), bias), ("denoiser", ResidualDenoiser(size), (0.0,))):
        torch.nn.init.zeros_(net.ending.weight)
        net.get_parameter("ending.bias").data = torch.tensor(shift).expand(size.channels).clone()
        tensors |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
    path = folder / f"{size.channels}.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def shifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights(tmp_path_factory.mktemp("weights"), Size(3, 1, 1), SHIFT)


@pytest.fixture
def page() -> np.ndarray:
    """White paper, RGB uint8 (300, 280, 3), with a box of every level from 60 to 199, and no strokes."""
    pixels = np.full((300, 280, 3), 255, np.uint8)
    ramp = np.linspace(60, 199, 150)
    levels = np.stack(np.broadcast_arrays(ramp[:, None], ramp, ramp[::-1, None]), axis=-1)
    pixels[50:200, 40:190] = np.round(levels)
    return pixels


@pytest.fixture
def unchanging(tmp_path: Path) -> Path:
    return weights(tmp_path, Size(3, 1, 1), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_colour_network_restores_every_channel(
    shifting: Path, page: np.ndarray, dtype: type[np.unsignedinteger[Any]]
) -> None:
    white = np.iinfo(dtype).max
    pixels = page.astype(dtype) * (white // 255)
    clean = PageRestorer(task="clean", device="cpu", weights=shifting, calls=0)(pixels, key=0).pixels
    assert clean.dtype == dtype and clean.shape == pixels.shape and clean.flags.c_contiguous
    expected = np.clip(pixels + np.array(SHIFT) * white, 0, white)
    assert np.abs(clean - expected)[AWAY].max() <= 0.5 + 1e-4 * white


def test_a_colour_network_answers_a_grey_page_with_its_mean(shifting: Path, page: np.ndarray) -> None:
    grey = page[..., 0]
    clean = PageRestorer(task="clean", device="cpu", weights=shifting, calls=0)(grey, key=0).pixels
    assert clean.shape == grey.shape
    assert np.abs(clean - (grey + 255 * np.mean(SHIFT)))[AWAY].max() <= 0.51


@pytest.mark.parametrize(
    ("paper", "shown"),
    [((235, 220, 190), (255, 255, 255)), ((200, 200, 200), (255, 255, 255)), ((190, 215, 250), (190, 215, 250))],
    ids=["yellowed", "grey", "blue"],
)
def test_aged_paper_turns_white_before_the_network_and_coloured_paper_stays(
    unchanging: Path, page: np.ndarray, paper: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    scanned = np.round(page * (np.array(paper) / 255)).astype(np.uint8)
    clean = PageRestorer(task="clean", device="cpu", weights=unchanging, calls=0)(scanned, key=0).pixels
    assert np.abs(clean - page * (np.array(shown) / 255)).max() <= 1.5


def test_a_colour_network_binarizes_and_deblurs_colour_pages_too(unchanging: Path) -> None:
    page = np.full((120, 200, 3), 255, np.uint8)
    page[40:60, 30:160] = (150, 0, 30)
    ink = page[..., 1] == 0
    assert np.array_equal(
        PageRestorer(task="binarize", device="cpu", weights=unchanging, calls=0)(page, 0).pixels, ~ink
    )
    deblurred = PageRestorer(task="deblur", device="cpu", weights=unchanging, calls=0)(page, 0).pixels
    assert np.abs(deblurred[~ink].astype(int) - 255).max() <= 1
    assert np.abs(deblurred[ink].astype(int) - (150, 0, 30)).max() <= 8


@pytest.mark.parametrize("network", [Predictor, ResidualDenoiser])
def test_a_grey_network_in_colour_does_the_same_to_grey_pictures(network: type) -> None:
    torch.manual_seed(0)
    grey = network(Size(1, 4, 2)).eval()
    for value in grey.parameters():
        torch.nn.init.normal_(value, std=0.2)
    coloured = load(network, in_colour(grey.state_dict()))
    page, restored, steps = torch.rand(2, 1, 16, 24), torch.rand(2, 1, 16, 24), torch.tensor([3, 70])
    given = [page] if network is Predictor else [page, steps, restored]
    in_three = [value.expand(-1, 3, -1, -1) if value.dim() == 4 else value for value in given]
    with torch.no_grad():
        torch.testing.assert_close(coloured(*in_three), grey(*given).expand(-1, 3, -1, -1), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of both networks on one page of letters on blue paper, begun with grey ones."""
    folder = tmp_path_factory.mktemp("colour")
    letters = cv2.resize(text_page(40), (SIDE, SIDE))
    paper = np.array([190, 215, 250], np.uint8)
    pixels = np.round(letters[..., None] * (paper / 255)).astype(np.uint8)
    store(folder / "pool", [ColourPage(pixels, paper, 20.0, "text")], 1)
    (folder / "pool" / "origin.json").write_text(json.dumps({"pages": 1, "fonts": {}}))
    grey = weights(folder, Size(1, 4, 2), (0.1,))
    options = ["--width", "4", "--levels", "2", "--batch", "2", "--steps", "2"]
    assert main(["train", "docclean", "--colour", "--folder", str(folder), "--start-from", str(grey), *options]) == 0
    return folder


def test_colour_training_makes_a_network_of_three_channels_out_of_a_grey_one(trained: Path) -> None:
    before, after = load_file(trained / "1.safetensors"), load_file(trained / "docclean.safetensors")
    assert after["predictor.ending.bias"].numpy() == pytest.approx([0.1] * 3, abs=0.01)
    assert after["predictor.intro.weight"].shape == (4, 3, 3, 3)
    whole = after["predictor.intro.weight"].float().sum(1, keepdim=True)
    torch.testing.assert_close(whole, before["predictor.intro.weight"], rtol=0, atol=0.01)
    card = json.loads((trained / "docclean.json").read_text())
    assert card["network"]["channels"] == 3 and card["recipe"]["predictor"]["mixture"]["side"] == 192


def test_its_weights_clean_a_colour_page_through_the_command(trained: Path, tmp_path: Path) -> None:
    page = np.full((90, 120, 3), (190, 215, 250), np.uint8)
    page[30:60, 30:60] = (19, 86, 50)
    Image.fromarray(page).save(tmp_path / "card.png")
    options = ["--ocr", "none", "--task", "clean", "--force-clean", "--calls", "2"]
    weights = ["--weights", str(trained / "docclean.safetensors")]
    assert main(["docclean", str(tmp_path / "card.png"), "-o", str(tmp_path / "out"), *options, *weights]) == 0
    cleaned = np.array(Image.open(tmp_path / "out" / "card.png"))
    expected = np.minimum(page / page[0, 0] + 0.1, 1) * page[0, 0]  # what two steps leave of the grey network
    assert np.quantile(np.abs(cleaned - expected), 0.99) < 6  # all but the corners, which are strokes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["--task", "deblur"], "--task clean"), (["--pages", "."], "goes with grey ones only")],
)
def test_colour_goes_with_rendered_clean_pages_only(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "docclean", "--colour", "--folder", str(tmp_path), *options]) == 2
    assert sentence in capsys.readouterr().err
