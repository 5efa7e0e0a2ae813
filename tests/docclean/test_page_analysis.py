"""Tests that the analysis separates sharp from blurred pages at the sizes of scans and photos."""

import cv2
import numpy as np
import pytest
from pages import text_page

from fastdiff.apps.docclean.imaging import page_analysis
from fastdiff.training.docclean.column import held_out_faces, render_column
from fastdiff.training.docclean.degrade import defocus_kernel, motion_kernel

HEIGHTS = (9, 13, 26, 40)
FONT_SIZE = 1 / 0.55  # of Pillow's font, over its median glyph height


def typeset(family: str, glyph_height: float) -> np.ndarray:
    if family == "Pillow's own":
        return text_page(glyph_height * FONT_SIZE)
    faces = {faces[0].family: faces[0] for faces in held_out_faces()}
    return render_column(np.random.default_rng(0), faces[family], glyph_height, count=12).pixels


def scanned(page: np.ndarray, darkest: int = 0, paper: int = 255) -> np.ndarray:
    toned = darkest + page.astype(np.float32) * ((paper - darkest) / 255)
    noise = np.random.default_rng(1).normal(0, 3, page.shape)
    return np.clip(np.rint(toned + noise), 0, 255).astype(np.uint8)


@pytest.fixture(params=["Pillow's own", "EB Garamond", "Courier Prime"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("tone", [(0, 255), (60, 210)], ids=["black", "faded"])
def test_sharp_pages_are_to_be_cleaned(family: str, height: int, tone: tuple[int, int]) -> None:
    found = page_analysis.analyze(scanned(typeset(family, height), *tone))
    assert found.task == "clean" and "sharp" in found.reason
    assert found.glyph_height == pytest.approx(height, abs=1 + height * 0.05)


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("radius", [0.35, 0.5])
def test_pages_out_of_focus_are_to_be_deblurred(family: str, height: int, radius: float) -> None:
    found = page_analysis.analyze(scanned(cv2.filter2D(typeset(family, height), -1, defocus_kernel(radius * height))))
    assert found.task == "deblur" and "blurred" in found.reason


@pytest.mark.parametrize(("height", "length"), [(9, 0.8), (9, 1.2), (12, 0.6), (13, 0.6), (13, 0.8), (13, 1.2)])
def test_shaken_pages_of_small_text_are_to_be_deblurred(family: str, height: int, length: float) -> None:
    kernel = motion_kernel(np.random.default_rng(1), length * height)
    assert page_analysis.analyze(scanned(cv2.filter2D(typeset(family, height), -1, kernel))).task == "deblur"


def test_large_scans_are_measured_in_their_own_pixels() -> None:
    page = scanned(np.pad(text_page(80), ((0, 3000), (0, 2800)), constant_values=255))
    assert page_analysis.analyze(page).glyph_height == pytest.approx(80 / FONT_SIZE, rel=0.1)


@pytest.mark.parametrize("page", ["blank", "noise", "photo"])
def test_pages_without_letters_are_not_judged(page: str) -> None:
    pixels = {
        "blank": np.full((400, 300), 240.0),
        "noise": np.random.default_rng(2).normal(200, 3, (400, 300)),
        "photo": np.add.outer(np.linspace(0, 150, 400), 50 + 50 * np.cos(np.linspace(0, 6, 300))),
    }[page]
    found = page_analysis.analyze(np.clip(pixels, 0, 255).astype(np.uint8))
    assert found.task == "clean" and "no letters" in found.reason


def boxed(page: np.ndarray) -> np.ndarray:
    page[20:60, 20:200] = np.minimum(page[20:60, 20:200], 200)
    return page


def test_a_drawn_page_is_clean_already_shaded_boxes_included(family: str) -> None:
    for page in (typeset(family, 20), boxed(typeset(family, 20))):
        found = page_analysis.analyze(page)
        assert found.task == "none" and "white paper" in found.reason


def stained(page: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: page.shape[0], : page.shape[1]]
    ring = np.exp(-(((np.hypot(y - 150, x - 150) - 60) / 10) ** 2))
    return (page * (1 - 0.15 * ring)).astype(np.uint8)


def peppered(page: np.ndarray) -> np.ndarray:
    return np.where(np.random.default_rng(3).random(page.shape) < 0.001, 0, page).astype(np.uint8)


@pytest.mark.parametrize("spoil", [stained, peppered, scanned, lambda page: page // 2 + 100])
def test_stains_specks_noise_and_grey_paper_are_to_be_cleaned(spoil) -> None:
    assert page_analysis.analyze(spoil(typeset("Pillow's own", 20))).task == "clean"
