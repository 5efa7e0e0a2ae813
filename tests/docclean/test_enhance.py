"""What becomes of the restored luma: the page as it came stays beside a guess, and 16 bits stay 16."""

import numpy as np
import pytest

from fastdiff.apps.docclean.enhance import SEEN, Enhancer, beside_the_seen


def test_half_of_a_deblurred_stroke_is_what_was_seen_and_all_of_the_paper_is_restored() -> None:
    shadow = np.linspace(0.5, 0.9, 300, dtype=np.float32)
    grey = np.tile(shadow, (40, 1))
    grey[5, 5:20] *= 0.5
    restored = np.ones_like(grey)
    restored[5, 5:10] = 0
    mixed = beside_the_seen(restored, grey)
    assert mixed.dtype == np.float32 and (mixed[6:] == 1).all()
    assert mixed[5, 5:10] == pytest.approx(SEEN * 0.5, abs=0.05)
    assert mixed[5, 10:20] == pytest.approx(1 - SEEN + SEEN * 0.5, abs=0.05)


def test_solid_areas_stay_as_dark_as_they_were_restored() -> None:
    grey, restored = np.full((60, 60), 0.3, np.float32), np.full((60, 60), 0.1, np.float32)
    assert beside_the_seen(restored, grey) == pytest.approx(0.1)


def test_a_black_page_stays_finite() -> None:
    black = np.zeros((20, 30), np.float32)
    assert (beside_the_seen(black, black) == 0).all()


def test_a_page_that_auto_finds_clean_comes_back_as_it_is() -> None:
    page = np.full((200, 300), 65535, np.uint16)
    page[50:60, 50:200] = 0
    enhanced = Enhancer()(page, key=0)
    assert enhanced.pixels is page and enhanced.task == "none" and enhanced.calls == 0
    assert Enhancer(task="clean")(page, key=0).pixels.dtype == np.uint16
