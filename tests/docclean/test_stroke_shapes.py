"""Strokes keep their shapes: drawn pages, of which the cleaned ones are known."""

import cv2
import numpy as np
import pytest

from fastdiff.apps.docclean.imaging import stroke_shapes

SHAPE = (900, 1300)


def text(level: float, paper: float) -> np.ndarray:
    """Lines of text of one level on paper, uint8 (H, W)."""
    drawn = np.zeros(SHAPE, np.uint8)
    for row, line in enumerate(("The committee met again", "Letters from residents")):
        cv2.putText(drawn, line, (30, 120 + 90 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 1, cv2.LINE_AA)
    return np.rint(paper + (level - paper) * (drawn / 255)).astype(np.uint8)


def alike(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_letters_that_were_drawn_bolder_keep_their_shapes_and_turn_black(scale: int, channels: int) -> None:
    soft, wanted = text(110, 200), text(0, 255)
    bold = cv2.erode(wanted, np.ones((3, 3), np.uint8))
    dtype = np.dtype(np.uint8 if scale == 1 else np.uint16)
    pages = (np.stack([page.astype(dtype) * dtype.type(scale)] * channels, -1) for page in (soft, bold))
    evened, cleaned = map(np.squeeze, pages)
    kept = stroke_shapes.keep_shapes(evened, cleaned)
    assert kept.dtype == dtype and kept.shape == evened.shape
    shown = (kept // scale).reshape(*SHAPE, channels).mean(-1)
    assert alike(shown, wanted) > 0.96 and alike(bold, wanted) < 0.8
    assert shown[wanted == 0].mean() < 40 and shown[wanted == 255].mean() > 253


def test_paper_and_dirt_away_from_strokes_are_those_of_the_cleaned_page() -> None:
    evened, cleaned = text(40, 230), text(20, 255)
    evened[300:380, 50:550] = np.random.default_rng(0).integers(150, 230, (80, 500))  # below the lines
    assert np.array_equal(stroke_shapes.keep_shapes(evened, cleaned)[300:], cleaned[300:])


def test_strokes_are_never_paler_than_they_were() -> None:
    evened, paler = text(150, 255), text(220, 255)
    assert np.abs(stroke_shapes.keep_shapes(evened, paler).astype(int) - evened).max() <= 2


def test_pencil_stays_paler_than_print() -> None:
    """The network turns both black."""
    evened, cleaned = text(60, 255), text(0, 255)
    cv2.line(evened, (60, 500), (900, 520), 180, 3, cv2.LINE_AA)
    cv2.line(cleaned, (60, 500), (900, 520), 0, 3, cv2.LINE_AA)
    kept = stroke_shapes.keep_shapes(evened, cleaned)
    assert 125 < kept[470:550].min() < 180 and np.quantile(kept[evened == 60], 0.9) < 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1, 3), (3, 2), (2, 3, 3)])
@pytest.mark.parametrize("level", [0, 255])
def test_pages_of_a_few_pixels_and_of_one_level_come_through(shape: tuple[int, ...], level: int) -> None:
    page = np.full(shape, level, np.uint8)
    assert np.array_equal(stroke_shapes.keep_shapes(page, page), page)
