"""Deblurred pages as they are written: inks, photographs and paper, and the words that stay or go back."""

import cv2
import numpy as np
import pytest
from pages import LINES, text_page

from fastdiff.apps.docclean.content_protection import ContentProtector, ProtectedPage
from fastdiff.apps.docclean.ocr import engines
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.ocr.word_comparison import WordPair, compare
from fastdiff.apps.docclean.ocr.word_decisions import AMBIGUOUS, is_clear
from fastdiff.apps.docclean.restoration.page_restorer import DeconvolvedPage, PageRestorer, RestoredPage

INKS = {"black": (20, 20, 20), "red": (190, 20, 30), "blue": (20, 30, 170)}
PHOTO = np.s_[300:520, 150:450]


@pytest.fixture(scope="module")
def blurred() -> np.ndarray:
    """Letters in three inks above a grainy picture of a hill, out of focus and unevenly lit: RGB."""
    page = np.full((600, 640, 3), 255, np.uint8)
    for row, ink in enumerate(INKS.values()):
        for line in (0, 1):
            place = (30, 40 + 90 * row + 40 * line)
            cv2.putText(
                page, "The harbour office registered 47", place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 2, cv2.LINE_AA
            )
    rows, columns = np.mgrid[:220, :300]
    hill = rows > 110 + 60 * np.sin(columns / 50)
    page[PHOTO] = np.where(hill[..., None], (70, 120, 60), (120, 160, 210))
    grain = np.random.default_rng(5).normal(0, 8, (220, 300, 1))
    page[PHOTO] = np.clip(page[PHOTO] + grain, 0, 255).astype(np.uint8)
    light = np.linspace(0.75, 1, 640)[None, :, None]
    return (cv2.GaussianBlur(page, (0, 0), 2.2) * light).astype(np.uint8)


@pytest.fixture(scope="module")
def restored(blurred: np.ndarray) -> RestoredPage:
    return PageRestorer(task="deblur", device="cpu")(blurred, 0)


@pytest.fixture(scope="module")
def protected(restored: RestoredPage) -> ProtectedPage:
    return ContentProtector(Scorer(None, None), False, False)(restored, None)[0]


def test_inks_keep_their_colours(protected: ProtectedPage) -> None:
    for row, ink in enumerate(INKS.values()):
        line = protected.pixels[15 + 90 * row : 95 + 90 * row, 25:600].reshape(-1, 3).astype(float)
        darkest = line[line.sum(1) <= np.quantile(line.sum(1), 0.05)].mean(0)
        assert np.argmax(darkest) == np.argmax(ink) or np.ptp(darkest) < 25
        if np.ptp(ink):
            assert np.ptp(darkest) > 60


def test_strokes_are_sharper_and_the_paper_is_white(blurred: np.ndarray, protected: ProtectedPage) -> None:
    steepest = [np.abs(np.diff(page[:280].astype(float).mean(2), axis=1)).max() for page in (blurred, protected.pixels)]
    assert steepest[1] > 2 * steepest[0]
    assert np.median(protected.pixels[540:, :]) > 250


def test_photographs_stay_as_soft_as_they_came(restored: RestoredPage, protected: ProtectedPage) -> None:
    assert "photograph" in {region.cause for region in protected.regions}
    inner = np.s_[320:500, 170:430]
    written, given = protected.pixels[inner].astype(float), restored.evened[inner].astype(float)
    assert np.abs(written - given).mean() < 6
    assert (
        np.std(written - cv2.GaussianBlur(written, (0, 0), 3))
        <= np.std(given - cv2.GaussianBlur(given, (0, 0), 3)) + 0.5
    )


@pytest.mark.parametrize("fill", [200, 127, 40])
def test_a_fill_that_the_network_takes_for_dark_paper_keeps_its_level(fill: int) -> None:
    clean, place = text_page(26), np.s_[230:430, 60:700]
    filled = clean.copy()
    filled[place] = fill
    evened = cv2.GaussianBlur(filled, (0, 0), 2)
    deconvolved = DeconvolvedPage(filled, cv2.GaussianBlur(clean, (0, 0), 2))
    found, _ = ContentProtector(Scorer(None, None), False, False)(
        RestoredPage(clean, "deblur", "", 0, evened, deconvolved=deconvolved), None
    )
    assert "area changed" in {region.cause for region in found.regions}
    inside = np.s_[245:415, 80:680]
    assert np.abs(found.pixels[inside].astype(int) - fill).max() <= 2


def test_an_area_goes_back_in_its_own_shape() -> None:
    clean = cv2.copyMakeBorder(text_page(26), 0, 400, 0, 300, cv2.BORDER_CONSTANT, value=255)
    filled = clean.copy()
    filled[340:660, 60:120] = filled[600:660, 60:600] = 150  # an angle: most of its box is paper
    beside = np.s_[350:570, 160:590]
    filled[beside] = np.minimum(filled[beside], 246)  # a shade that the network took away
    deconvolved = DeconvolvedPage(filled, cv2.GaussianBlur(clean, (0, 0), 2))
    page = RestoredPage(clean, "deblur", "", 0, filled, deconvolved=deconvolved)
    found, _ = ContentProtector(Scorer(None, None), False, False)(page, None)
    assert "area changed" in {region.cause for region in found.regions}
    assert np.abs(found.pixels[360:640, 80:100].astype(int) - 150).max() <= 2
    assert np.array_equal(found.pixels[beside], clean[beside])


def test_what_is_sharper_is_neither_gone_nor_invented(protected: ProtectedPage) -> None:
    assert {region.cause for region in protected.regions} <= {"photograph", "area changed"}


def pair(before: str, after: str, confidences: tuple[float, float]) -> WordPair:
    judgement = "digits" if any(map(str.isdigit, before + after)) else "word changed"
    return WordPair((0, 0, 10, 10), before, after, judgement, confidences)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "lost_when_sharp", "lost_when_deblurred"),
    [
        (pair("9/37/2010", "9/27/2010", (0.94, 0.99)), True, False),
        (pair("8/8/2005", "B/B/2005", (0.97, 0.9)), True, True),
        (pair("11", "17", (0.9, 0.79)), True, True),
        (pair("1964", "1964", (0.9, 0.5)), False, False),
    ],
)
def test_a_number_of_a_deblurred_page_is_lost_where_it_is_less_surely_read(
    word: WordPair, lost_when_sharp: bool, lost_when_deblurred: bool
) -> None:
    page = np.zeros((4, 4), np.uint8)
    assert bool(ProtectedPage(page, word_pairs=(word,)).lost) == lost_when_sharp
    assert bool(ProtectedPage(page, word_pairs=(word,), deblurred=True).lost) == lost_when_deblurred


def test_a_sharp_page_that_is_deblurred_all_the_same_keeps_its_letters() -> None:
    page = text_page(26)
    written = PageRestorer(task="deblur", device="cpu")(page, 0).pixels.astype(float)
    assert np.corrcoef(written.ravel(), page.ravel())[0, 1] > 0.99


@pytest.fixture(scope="module", params=["grey, 8 bits", "colour, 16 bits"])
def sharpened(request: pytest.FixtureRequest) -> np.ndarray:
    """A page of text as linear filters show it."""
    page = text_page(26)
    return page if request.param == "grey, 8 bits" else np.repeat(page[..., None], 3, 2).astype(np.uint16) * 257


@pytest.fixture
def deblurred(sharpened: np.ndarray) -> RestoredPage:
    """The same page by a network that writes "caps" for "maps", and no word for "returned"."""
    lines = [line.replace("maps", "caps").replace("returned", "rctvrncd") for line in LINES]
    page = text_page(26, lines=lines)
    pixels = np.broadcast_to(page if sharpened.ndim == 2 else page[..., None], sharpened.shape)
    pixels = (pixels.astype(int) * (np.iinfo(sharpened.dtype).max // 255)).astype(sharpened.dtype)
    blurred = cv2.GaussianBlur(sharpened, (0, 0), 3)
    return RestoredPage(pixels, "deblur", "", 1, blurred, deconvolved=DeconvolvedPage(sharpened, blurred))


def ambiguous(page: ProtectedPage) -> dict[str, str]:
    return {str(region.text): region.decision for region in page.regions if region.cause == AMBIGUOUS}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(engines.load_engine("rapidocr", "cpu"), None)


def test_ambiguous_words_are_listed_and_go_back_where_only_linear_filters_show_a_word(
    deblurred: RestoredPage, sharpened: np.ndarray, scorer: Scorer
) -> None:
    page, after = ContentProtector(scorer, False, False)(deblurred, Reading((), 0.0))
    assert ambiguous(page) == {"rctvrncd -> returned": "put back", "caps -> maps": "left"}
    assert after is not None and "returned" in after.text and "caps" in after.text
    change = np.abs(page.pixels.astype(int) - sharpened) > 0.15 * np.iinfo(sharpened.dtype).max
    differs = np.argwhere(change.reshape(*sharpened.shape[:2], -1).any(-1))
    line = 3.5 * 1.5 * 26  # the middle of the fourth, which "caps" ends
    assert np.abs(differs[:, 0] - line).max() < 26 and np.ptp(differs[:, 1]) < 80


def test_forced_cleaning_lists_ambiguous_words_and_puts_none_back(deblurred: RestoredPage, scorer: Scorer) -> None:
    page, _ = ContentProtector(scorer, False, True)(deblurred, Reading((), 0.0))
    assert set(ambiguous(page).values()) == {"left"} and np.array_equal(page.pixels, deblurred.pixels)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("delivered the box on 17 July", " -> 17"),
        ("delivered the box on July 9", " -> 9"),
        ("7 jars were delivered by us", " -> 7"),
    ],
)
def test_of_a_line_that_was_read_as_one_unread_word_only_the_number_goes_back(
    line: str, number: str, scorer: Scorer
) -> None:
    sharp = text_page(26, lines=[line])
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    restored = RestoredPage(sharp, "deblur", "", 1, soft, deconvolved=DeconvolvedPage(soft, soft))
    box = (20.0, 20.0, float(sharp.shape[1]) - 20, 70.0)
    page, _ = ContentProtector(scorer, False, False)(restored, Reading(((Fragment("dc1vcrcdthcbx", 0.1, box),),), 0.0))
    assert [region.text for region in page.regions if region.decision == "put back"] == [number]


def test_a_sure_word_does_not_give_way_to_another_one() -> None:
    words = [("house", 0.99, "horse", 0.99), ("house", 0.79, "horse", 0.7), ("hcuse", 0.99, "house", 0.7)]
    page = np.full((40, 100), 255, np.uint8)
    for written, sure, shown, surely in words:
        before, after = (
            Reading(((Fragment(text, confidence, (5, 5, 95, 35)),),), 0.0)
            for text, confidence in ((written, sure), (shown, surely))
        )
        assert not any(map(is_clear, compare(before, after, page)))
