"""Tests of binarization: the restored page and the ink of the given page separate ink from paper."""

import numpy as np
import pytest

from fastdiff.apps.docclean.imaging.binarization import paper_mask

FRONT, BACK = np.s_[40:44, 20:180], np.s_[100:104, 20:120]  # two strokes of a page


def page(front: float, back: float) -> np.ndarray:
    grey = np.full((150, 200), 200.0)
    grey[FRONT] *= 1 - front
    grey[BACK] *= 1 - back
    return grey.astype(np.uint8)


def restored(front: float, back: float) -> np.ndarray:
    values = np.ones((150, 200), np.float32)
    values[FRONT], values[BACK] = front, back
    return values


def test_a_stroke_much_paler_than_the_ink_of_its_page_shines_through() -> None:
    found = paper_mask(restored(0, 0), page(front=0.8, back=0.3))
    assert not found[FRONT].any() and found[BACK].all()


@pytest.mark.parametrize("contrast", [0.2, 0.8])
def test_ink_is_judged_by_its_own_page_however_faint(contrast: float) -> None:
    found = paper_mask(restored(0, 0), page(contrast, 0.9 * contrast))
    assert not found[FRONT].any() and not found[BACK].any()
    assert np.count_nonzero(~found) == 4 * (160 + 100)


def test_what_the_restorer_left_pale_is_paper() -> None:
    found = paper_mask(restored(0, 0.7), page(0.8, 0.8))
    assert not found[FRONT].any() and found[BACK].all()


def test_a_pale_end_belongs_to_its_dark_stroke() -> None:
    values = restored(0, 1)
    values[40:44, 180:195] = 0.75
    assert not paper_mask(values, page(0.8, 0))[40:44, 20:195].any()


def test_an_empty_page_is_all_paper() -> None:
    assert paper_mask(np.ones((150, 200), np.float32), page(0, 0)).all()
