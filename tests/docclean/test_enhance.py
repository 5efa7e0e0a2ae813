"""What becomes of the restored luma: the page as it came stays beside a guess, and 16 bits stay 16."""

import numpy as np

from fastdiff.apps.docclean.enhance import SEEN, Enhancer, beside_the_seen


def test_half_of_a_deblurred_page_is_what_was_seen_on_white_paper() -> None:
    grey = np.full((20, 30), 0.8, np.float32)
    grey[5, 5:20] = 0.4
    restored = np.ones_like(grey)
    restored[5, 5:10] = 0
    mixed = beside_the_seen(restored, grey)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed[5, 5:10], SEEN * 0.5, rtol=1e-6)
    np.testing.assert_allclose(mixed[5, 10:20], 1 - SEEN + SEEN * 0.5, rtol=1e-6)
    assert (mixed[6:] == 1).all()


def test_a_black_page_stays_finite() -> None:
    black = np.zeros((20, 30), np.float32)
    assert (beside_the_seen(black, black) == 0).all()


def test_a_page_that_auto_finds_clean_comes_back_as_it_is() -> None:
    page = np.full((200, 300), 65535, np.uint16)
    page[50:60, 50:200] = 0
    enhanced = Enhancer()(page, key=0)
    assert enhanced.pixels is page and enhanced.task == "none" and enhanced.calls == 0
    assert Enhancer(task="clean")(page, key=0).pixels.dtype == np.uint16
