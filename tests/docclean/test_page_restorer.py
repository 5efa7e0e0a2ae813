"""Tests of the restored luma: the given strokes stay beside a guess, and 16 bits stay 16."""

import cv2
import numpy as np
import pytest
from pages import text_page

from fastdiff.apps.docclean.restoration.page_restorer import SEEN, PageRestorer, blend_original_strokes


def test_half_of_a_deblurred_stroke_is_what_was_seen_and_all_of_the_paper_is_restored() -> None:
    shadow = np.linspace(0.5, 0.9, 300, dtype=np.float32)
    grey = np.tile(shadow, (40, 1))
    grey[5, 5:20] *= 0.5
    restored = np.ones_like(grey)
    restored[5, 5:10] = 0
    mixed = blend_original_strokes(restored, grey)
    assert mixed.dtype == np.float32 and (mixed[6:] == 1).all()
    assert mixed[5, 5:10] == pytest.approx(SEEN * 0.5, abs=0.05)
    assert mixed[5, 10:20] == pytest.approx(1 - SEEN + SEEN * 0.5, abs=0.05)


def test_solid_areas_stay_as_dark_as_they_were_restored() -> None:
    grey, restored = np.full((60, 60), 0.3, np.float32), np.full((60, 60), 0.1, np.float32)
    assert blend_original_strokes(restored, grey) == pytest.approx(0.1)


def test_a_black_page_stays_finite() -> None:
    black = np.zeros((20, 30), np.float32)
    assert (blend_original_strokes(black, black) == 0).all()


def test_a_page_that_auto_finds_clean_is_returned_unchanged() -> None:
    page = np.full((200, 300), 65535, np.uint16)
    page[50:60, 50:200] = 0
    restored_page = PageRestorer()(page, key=0)
    assert restored_page.pixels is page and restored_page.task == "none" and restored_page.calls == 0
    assert PageRestorer(task="clean")(page, key=0).pixels.dtype == np.uint16


def test_deblurred_pages_keep_their_highlighter_in_a_shadow() -> None:
    page = np.repeat(text_page(26)[:, :, None], 3, axis=2)
    page[90:130, 100:500] = np.minimum(page[90:130, 100:500], (250, 240, 120))
    light = np.linspace(0.6, 1, page.shape[1])[:, None]
    blurred = (cv2.GaussianBlur(page, (0, 0), 2.5) * light).astype(np.uint8)
    deblurred = PageRestorer(task="deblur", device="cpu")(blurred, 0).pixels
    marked = np.quantile(deblurred[95:125, 110:490].reshape(-1, 3), 0.7, axis=0)  # of the paper between letters
    assert np.abs(marked - (250, 240, 120)).max() < 30
