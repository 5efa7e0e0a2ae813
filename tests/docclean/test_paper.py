"""Tests of the measured paper: under text, shadows and pictures, coloured or not, and absent without paper."""

import cv2
import numpy as np
import pytest
from pages import text_page

from fastdiff.apps.docclean.imaging.paper import measure_paper

YELLOWED, BROWN, BLUEISH = (235, 220, 190), (150, 120, 80), (225, 228, 235)
PINK, SKY, YELLOW, GREEN = (255, 200, 210), (190, 215, 250), (255, 240, 140), (200, 240, 200)


def printed(colour: tuple[int, ...]) -> np.ndarray:
    """Text on paper of a colour, float32 (H, W, 3) in [0, 1]."""
    return (text_page(28)[..., None] / 255 * np.array(colour) / 255).astype(np.float32)


@pytest.mark.parametrize("colour", [YELLOWED, BROWN, BLUEISH, (255, 255, 255), (190, 190, 190)])
def test_aged_grey_and_badly_balanced_paper_is_found_and_is_not_coloured(colour: tuple[int, ...]) -> None:
    found = measure_paper(printed(colour))
    assert found.colour * 255 == pytest.approx(colour, abs=1.5)
    assert not found.tinted


@pytest.mark.parametrize("colour", [PINK, SKY, YELLOW, GREEN])
def test_coloured_paper_is_found_and_is_coloured(colour: tuple[int, ...]) -> None:
    found = measure_paper(printed(colour))
    assert found.colour * 255 == pytest.approx(colour, abs=1.5)
    assert found.tinted


def test_a_shadow_over_half_of_the_page_does_not_count() -> None:
    page = printed(YELLOWED)
    page[:, : page.shape[1] // 2] *= np.linspace(0.5, 0.9, page.shape[1] // 2, dtype=np.float32)[:, None]
    assert measure_paper(page).colour * 255 == pytest.approx(YELLOWED, abs=4)


def test_a_picture_beside_the_paper_does_not_count() -> None:
    page = np.full((600, 500, 3), 0.9, np.float32)
    page[100:500, 50:450] = cv2.resize(np.random.default_rng(0).random((5, 5, 3), np.float32) * 0.8, (400, 400))
    assert measure_paper(page).colour == pytest.approx(0.9, abs=0.01)


def test_a_dark_slide_with_white_letters_has_no_paper() -> None:
    page = np.full((600, 800, 3), (0.2, 0.35, 0.7), np.float32)
    page[100:200:10, 100:700] = 1
    page[300:420:12, 100:700] = 1
    assert (measure_paper(page).colour == 1).all()


def test_a_photograph_from_edge_to_edge_has_no_paper() -> None:
    tones = np.random.default_rng(3).random((6, 6, 3), np.float32)
    photo = np.clip(cv2.resize(tones, (800, 600), interpolation=cv2.INTER_CUBIC), 0, 1)
    assert (measure_paper(photo).colour == 1).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (700, 2), (40, 40)])
def test_pages_of_a_few_pixels_and_grey_pages_are_measured_too(shape: tuple[int, ...]) -> None:
    assert measure_paper(np.full(shape, 0.75, np.float32)).colour == pytest.approx(0.75)
