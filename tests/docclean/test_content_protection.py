"""Tests of what goes back: strokes without the grain beside them, and less cleaned versions, strokes first."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import text_page
from PIL import Image

from fastdiff.apps.docclean.content_protection import ContentProtector, ProtectedPage, less_cleaned_versions
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer, RestoredPage

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def evened() -> np.ndarray:
    """Grey letters on white, and a stain below them."""
    page = text_page(26, ink=90)
    page[-30:, 50:200] = 200
    return page


@pytest.fixture(scope="module")
def cleaned(evened: np.ndarray) -> np.ndarray:
    """The letters are black, the stain is gone."""
    return np.where(evened == 200, 255, np.where(evened < 200, 0, evened)).astype(np.uint8)


def found_in(cleaned: np.ndarray, evened: np.ndarray, share: float) -> list[tuple[np.ndarray, str, list[str]]]:
    versions = less_cleaned_versions(
        ProtectedPage(cleaned, share=share), RestoredPage(cleaned, "clean", "as asked", 0, evened)
    )
    return [(each.pixels, each.done, [region.cause for region in each.regions]) for each in versions]


def test_strokes_go_back_first_then_what_is_around_them_then_all_but_the_light(
    evened: np.ndarray, cleaned: np.ndarray
) -> None:
    (light, *told), (beside, *_), (whole, *last) = found_in(cleaned, evened, share=0.1)
    assert told == ["only its paper was cleaned", ["all strokes"]]
    assert last == ["only its light was evened out", ["all but the light"]] and np.array_equal(whole, evened)
    letters, stain = np.s_[:-40], np.s_[-25:, 60:190]
    for page in (light, beside):
        assert np.abs(page[letters].astype(int) - evened[letters]).max() <= 6
        assert page[stain].min() > 250


def test_nothing_is_taken_from_a_page_that_lost_its_content(evened: np.ndarray, cleaned: np.ndarray) -> None:
    ((page, *_),) = found_in(cleaned, evened, share=0.6)
    assert np.array_equal(page, evened)


def test_the_paper_beside_the_strokes_of_a_soft_grainy_page_is_clean() -> None:
    memo = np.asarray(Image.open(SAMPLES / "memo.png"))
    restored = PageRestorer()(memo, 0)
    assert restored.blur is not None and restored.task == "clean"
    page = ContentProtector(Scorer(None, None), False, False)(restored, None)[0].pixels
    smooth = cv2.GaussianBlur(restored.evened, (0, 0), 2)
    beside = cv2.dilate((smooth < 200).astype(np.uint8), np.ones((15, 15))) > 0
    paper = beside & (cv2.dilate((smooth < 225).astype(np.uint8), np.ones((5, 5))) == 0)
    given, cleaned = (np.mean(each[paper] < 245) for each in (restored.evened, page))
    assert given > 0.3 and cleaned < 0.1
    letters = restored.evened < 120
    assert np.abs(page[letters].astype(int) - restored.evened[letters]).mean() < 15
