"""Colours on restored pages: white paper, true hues, exact greys, every bit of the depth."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import text_page
from scans import lightening

from fastdiff.apps.docclean.imaging import colour
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer

PAPER = np.array([235, 220, 190])  # yellowed
STAMPS = {"red": (190, 40, 50), "blue": (40, 60, 160), "green": (30, 120, 60)}


def hue(rgb: np.ndarray) -> float:
    return 360 * colorsys.rgb_to_hsv(*(rgb / 255.0))[0]


@pytest.fixture(scope="module")
def letter() -> tuple[np.ndarray, np.ndarray, dict[str, tuple[slice, slice]]]:
    """A yellowed letter with stamps, more than one band high; its clean luma; where the stamps are."""
    ink = np.pad(text_page(36), ((0, 400), (0, 0)), constant_values=255)
    page = PAPER * (ink / 255.0)[..., None]
    clean = ink / 255.0
    places = {}
    for number, (name, rgb) in enumerate(STAMPS.items()):
        rows, columns = slice(560 + 60 * number, 600 + 60 * number), slice(80, 220)
        page[rows, columns] = np.array(rgb) * PAPER / 255
        clean[rows, columns] = np.dot(rgb, [0.299, 0.587, 0.114]) / 255
        places[name] = rows, columns
    return np.rint(page).astype(np.uint8), clean.astype(np.float32), places


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that returns its input."""
    return lightening(tmp_path_factory.mktemp("weights"), 0.0)


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bit", "16 bit"])
def test_paper_turns_white_ink_black_and_stamps_keep_their_hue(letter, scale: int) -> None:
    page, clean, places = letter
    pixels = page.astype(np.uint16) * 257 if scale == 257 else page
    painted = colour.repaint(pixels, clean)
    assert painted.dtype == pixels.dtype
    painted = painted / scale
    assert painted[clean == 1].min() >= 253
    assert painted[clean == 0].max() <= 2
    for name, rgb in STAMPS.items():
        shown = painted[places[name]].reshape(-1, 3).mean(0)
        assert abs((hue(shown) - hue(np.array(rgb)) + 180) % 360 - 180) < 6
        assert shown.max() - shown.min() > 0.9 * (max(rgb) - min(rgb))


def test_the_luma_is_that_of_the_restorer(letter) -> None:
    page, clean, _ = letter
    painted = colour.repaint(page, clean)
    assert np.abs(colour.luma(painted) - clean).max() < 1.5 / 255


def test_grey_pages_in_colour_stay_grey(letter) -> None:
    _, clean, _ = letter
    grey = np.rint(clean * 200 + 20).astype(np.uint8)
    painted = colour.repaint(np.stack([grey] * 3, axis=-1), clean)
    assert np.ptp(painted.astype(int), axis=-1).max() <= 1


def test_a_stain_restored_to_white_leaves_no_colour(letter) -> None:
    page, clean, _ = letter
    stained = page.copy()
    stained[440:520, 300:420] = (150, 110, 60)
    painted = colour.repaint(stained, clean)
    assert painted[440:520, 300:420][clean[440:520, 300:420] == 1].min() == 255


def test_bands_of_rows_leave_no_seam() -> None:
    ramp = np.linspace(180, 250, 3 * colour.BAND)[:, None, None] * np.ones((1, 80, 3))
    painted = colour.repaint(ramp.astype(np.uint8), np.full(ramp.shape[:2], 0.5, np.float32))
    assert np.ptp(painted.astype(int)) <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_page_that_needs_nothing_keeps_every_bit(unchanging: Path, dtype: type[np.unsignedinteger[Any]]) -> None:
    page = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (300, 280), endpoint=True).astype(dtype)
    restored_page = PageRestorer(task="clean", device="cpu", weights=unchanging, calls=0)(page, key=0)
    assert np.array_equal(restored_page.pixels, page)
    assert (restored_page.task, restored_page.calls) == ("clean", 0)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (700, 2, 3), (5, 4)])
def test_pages_of_a_few_pixels_are_pages_too(unchanging: Path, shape: tuple[int, ...]) -> None:
    page = np.full(shape, 255, np.uint8)
    assert np.array_equal(PageRestorer(device="cpu", weights=unchanging, calls=0)(page, key=0).pixels, page)


def test_auto_never_binarizes_and_gives_the_reason(unchanging: Path) -> None:
    page_restorer = PageRestorer(device="cpu", weights=unchanging, calls=0)
    restored_page = page_restorer(text_page(24, paper=220), key=0)
    assert restored_page.task == "clean" and "sharp" in restored_page.task_reason
    assert restored_page.pixels.dtype == np.uint8


def test_binarize_keeps_pale_strokes_and_drops_what_has_no_core(unchanging: Path) -> None:
    page = np.full((200, 200), 255, np.uint8)
    page[50:150, 50:53], page[150:180, 50:53] = 20, 160  # a stroke that runs dry
    page[50:150, 120:123] = 160  # what shines through
    restored_page = PageRestorer(task="binarize", device="cpu", weights=unchanging, calls=0)(page, key=0)
    expected = np.ones((200, 200), bool)
    expected[50:180, 50:53] = False
    assert np.array_equal(restored_page.pixels, expected)
