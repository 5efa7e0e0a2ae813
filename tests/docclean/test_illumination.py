"""Tests of evening out: marks keep their contrast, coloured paper its colour, and figures are not bleached."""

import cv2
import numpy as np
import pytest
from pages import text_page

from fastdiff.apps.docclean.imaging.illumination import even_out

SIDE = 700


def light(height: int, width: int) -> np.ndarray:
    """Light that rises from 0.65 in one corner to 1 in the opposite one, float32 (height, width)."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (0.65 + 0.35 * (x + y) / 2).astype(np.float32)


def lit(page: np.ndarray, scale: int = 1) -> np.ndarray:
    field = light(*page.shape[:2])
    dtype = np.uint8 if scale == 1 else np.uint16
    return np.rint(page * (field if page.ndim == 2 else field[..., None]) * scale).astype(dtype)


@pytest.fixture(scope="module")
def figures() -> np.ndarray:
    """A white page, RGB, with text, a pale box, a grey stroke and a photograph-like square of bright tones."""
    page = np.full((SIDE, SIDE, 3), 255, np.uint8)
    text = text_page(24)[:300, :SIDE]
    page[: text.shape[0], : text.shape[1]] = text[..., None]
    page[400:600, 50:300] = (225, 235, 250)
    page[640:643, 50:650] = 200
    tones = np.random.default_rng(0).integers(60, 250, (6, 6, 3)).astype(np.uint8)
    page[400:600, 400:650] = cv2.resize(tones, (250, 200), interpolation=cv2.INTER_CUBIC)
    return page


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bit", "16 bit"])
def test_light_goes_and_every_figure_keeps_its_colours(figures, scale: int) -> None:
    evened = even_out(lit(figures, scale))
    assert evened.dtype == (np.uint8 if scale == 1 else np.uint16)
    difference = np.abs(evened / scale - figures.astype(float)).max(-1)
    assert np.quantile(difference[figures.min(-1) == 255], 0.98) < 4
    assert np.quantile(difference[figures.min(-1) < 255], 0.98) < 9


def test_grey_pages_are_evened_out_alike(figures) -> None:
    grey = cv2.cvtColor(figures, cv2.COLOR_RGB2GRAY)
    evened = even_out(lit(grey))
    assert evened.shape == grey.shape
    assert np.quantile(np.abs(evened.astype(float) - grey), 0.98) < 6


def test_yellowed_paper_turns_white_and_coloured_paper_keeps_its_colour() -> None:
    text = text_page(24)[..., None] / 255.0
    colours = np.array([235, 222, 195]), np.array([200, 240, 200])
    yellowed, green = (np.rint(text * colour).astype(np.uint8) for colour in colours)
    paper = text[..., 0] == 1
    assert np.median(even_out(lit(yellowed))[paper], axis=0) == pytest.approx([255] * 3, abs=3)
    shown = np.median(even_out(lit(green))[paper], axis=0)
    assert shown / shown.max() == pytest.approx(np.array([200, 240, 200]) / 240, abs=0.02)
    assert np.ptp(cv2.blur(even_out(lit(green)), (31, 31))[:, :, 1][250:400, 100:400].astype(int)) < 60


def test_a_stain_and_a_dark_margin_stay_as_dark_as_they_are() -> None:
    page = np.full((SIDE, SIDE), 230, np.uint8)
    cv2.circle(page, (350, 350), 60, 180, -1)
    page[:, :60] = 20
    evened = even_out(page)
    assert evened[100:200, 200:600].mean() == pytest.approx(255, abs=1)
    assert evened[350, 350] == pytest.approx(255 * 180 / 230, abs=5)
    assert evened[:, :50].max() < 30


def test_pages_without_paper_come_back_as_they_are() -> None:
    tones = np.random.default_rng(3).integers(0, 255, (7, 7, 3)).astype(np.uint8)
    photo = cv2.resize(tones, (800, 600), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(even_out(photo), photo)
    black = np.full((300, 200), 12, np.uint8)
    assert np.array_equal(even_out(black), black)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (700, 2), (40, 40)])
def test_pages_of_a_few_pixels_are_evened_out_too(shape: tuple[int, ...]) -> None:
    evened = even_out(np.full(shape, 200, np.uint8))
    assert evened.shape == shape and evened.min() >= 200


def test_edges_of_blurred_letters_are_neither_cut_nor_steepened() -> None:
    """Every grey level between ink and paper stays, as a share of the paper."""
    soft = cv2.GaussianBlur(text_page(24), (0, 0), 3)
    evened = even_out(np.rint(soft * 0.8).astype(np.uint8))
    assert np.abs(evened.astype(float) - soft).max() < 5


def test_coloured_paper_in_dim_light_stays_coloured() -> None:
    """Most of the sheet reflects 0.73 of the light in its brightest channel."""
    light = np.linspace(0.75, 0.92, 300)[:, None, None] ** np.ones((1, 280, 1))
    evened = even_out(np.round(light * np.array((223, 205, 150))).astype(np.uint8))
    assert np.ptp(evened.reshape(-1, 3), axis=0).max() <= 6
    hue = np.median(evened.reshape(-1, 3), axis=0) / evened.max()
    assert np.abs(hue - np.array((223, 205, 150)) / 223).max() < 0.03
