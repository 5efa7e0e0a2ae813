"""Tests of putting back regions: masks, soft borders, matched paper, and strokes with their blur."""

from typing import Any

import cv2
import numpy as np
import pytest

from fastdiff.apps.docclean.imaging.paper_matching import match_paper
from fastdiff.apps.docclean.imaging.regions import mask_of, put_back
from fastdiff.apps.docclean.imaging.surroundings import near_strokes, strokes_of_either


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1200, 90), (1200, 90, 3)])
def test_pixels_inside_go_back_and_far_ones_stay(dtype: type[np.unsignedinteger[Any]], shape: tuple[int, ...]) -> None:
    white = np.iinfo(dtype).max
    cleaned, evened = np.full(shape, white, dtype), np.zeros(shape, dtype)
    box = (30, 500, 60, 530)  # across the border between two bands of rows
    mixed = put_back(cleaned, evened, mask_of([box], shape))
    assert mixed.dtype == dtype and mixed.shape == shape and cleaned.min() == white
    assert (mixed[500:530, 30:60] == 0).all()
    assert (mixed[515, :20] == white).all() and (mixed[:490] == white).all() and (mixed[540:] == white).all()
    slope = mixed[515, 60:72].reshape(12, -1)[:, 0].astype(int)
    assert (np.diff(slope) >= 0).all() and np.diff(slope).max() < 0.5 * white


def test_the_paper_of_strokes_that_go_back_is_that_around_them() -> None:
    """On a stain, which cleaning removed: the strokes keep their contrast, and no pixel of the paper stays grey."""
    cleaned = np.full((400, 700), 255, np.uint8)
    cleaned[190:200, 100:600:12] = 0
    stain = np.full(cleaned.shape, 255.0)
    stain[100:300, 50:650] = 204
    evened = np.round(stain * np.where(cleaned == 0, 0.4, 1)).astype(np.uint8)
    matched = match_paper(evened, cleaned)
    assert matched[190:200, 100:600:12] == pytest.approx(0.4 * 255, abs=3)
    assert matched[180:188, 100:600].min() >= 252
    deep_evened, deep_cleaned = (np.dstack([page] * 3).astype(np.uint16) * 257 for page in (evened, cleaned))
    colour = match_paper(deep_evened, deep_cleaned)
    assert colour.shape == (400, 700, 3)
    assert colour[..., 1] / 257 == pytest.approx(matched, abs=1)


def test_tinted_paper_keeps_its_colour() -> None:
    tint = np.array([190, 215, 250], np.uint8)
    page = np.full((100, 150, 3), tint, np.uint8)
    page[40:50, 30:120:8] = 20
    np.testing.assert_array_equal(match_paper(page, page), page)


def test_strokes_are_found_with_what_blur_made_of_them() -> None:
    page = np.full((200, 300), 255, np.uint8)
    page[50:60, 150:190] = 0
    page[120:124, 150:260] = 200  # pale, but a stroke
    page[150:160, 20:30] = 240  # grain
    near = near_strokes(page, edge_width=4.0)
    assert near[47:63, 147:193].all() and near[118:126, 150:260].all() and not near[:, :140].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strokes_are_told_from_strong_grain_beside_them(dtype: type[np.unsignedinteger[Any]]) -> None:
    """A ring keeps its blur; the grain inside and around it, as dark as pale strokes, is left out."""
    scale = np.iinfo(dtype).max // 255
    cleaned = np.full((300, 300), 255, np.uint8)
    cv2.circle(cleaned, (150, 150), 20, (60,), 4)
    soft = cv2.GaussianBlur(cleaned, (0, 0), 1.2)
    grain = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 60, cleaned.shape), (0, 0), 0.8)
    evened = np.clip(soft - np.abs(grain), 0, 255).astype(np.uint8)
    assert np.mean(evened[:100, :100] < 255 * (1 - 0.12)) > 0.1
    found = strokes_of_either(evened.astype(dtype) * dtype(scale), cleaned.astype(dtype) * dtype(scale), 4.0)
    assert found[soft < 200].all()
    assert found[142:158, 142:158].mean() < 0.1 and found[:110].mean() < 0.02
    erased = strokes_of_either(evened, np.full_like(cleaned, 255), 4.0)
    invented = strokes_of_either(np.clip(255 - np.abs(grain), 0, 255).astype(np.uint8), cleaned, 4.0)
    assert erased[cleaned < 128].all() and invented[cleaned < 128].all()
