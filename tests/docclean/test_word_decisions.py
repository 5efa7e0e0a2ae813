"""Which words of a page go back to the given one: by the readings before, after, and of the linearly sharpened page."""

import numpy as np
import pytest

from fastdiff.apps.docclean.imaging.regions import Box
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.word_comparison import WordPair, compare
from fastdiff.apps.docclean.ocr.word_decisions import AMBIGUOUS, decide, is_ambiguous, without_misread_digits

PAGE = np.full((40, 300), 255, np.uint8)
PLACE = (5, 5, 95, 35)


def pair(before: tuple[str, float], after: tuple[str, float], place: Box = PLACE) -> WordPair:
    """Readings and confidences of one place, "" for none."""
    first, second = (Reading(((Fragment(*word, place),),) if word[0] else (), 0.0) for word in (before, after))
    (found,) = compare(first, second, PAGE)
    return found


def decisions(
    *pairs: WordPair, ambiguous: tuple[WordPair, ...] | None = (), trust_digits: bool = False
) -> list[tuple[str, str, bool]]:
    return [(each.pair.after, each.cause, each.goes_back) for each in decide(pairs, ambiguous, trust_digits)]


def decided(
    before: tuple[str, float], after: tuple[str, float], *, trust_digits: bool = False
) -> list[tuple[str, str, bool]]:
    """Decisions on one word of a deblurred page."""
    return decisions(without_misread_digits(pair(before, after)), trust_digits=trust_digits)


def test_letters_that_blur_made_digits_stay_letters() -> None:
    assert decided(("4eeu", 0.1), ("tbe", 0.6)) == [("tbe", "word not certain", False)]
    assert without_misread_digits(pair(("4eeu", 0.1), ("the", 0.6))).judgement == "recovered"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("17", 0.9), ("it", 0.9)),
        (("1926", 0.79), ("lot", 0.9)),
        (("17", 0.2), ("11", 0.9)),
        (("", 0.0), ("1926", 1.0)),
        (("8", 0.3), ("", 0.0)),
    ],
)
def test_numbers_of_deblurred_pages_go_back(before: tuple[str, float], after: tuple[str, float]) -> None:
    assert decided(before, after) == [(after[0], "digits", True)]
    assert decided(before, after, trust_digits=True) == [(after[0], "digits", False)]


def test_a_number_beside_an_unread_word_goes_back() -> None:
    both = WordPair(PLACE, "mrkct 17", "market it", "digits", (0.3, 0.9))
    assert decisions(without_misread_digits(both)) == [("market it", "digits", True)]


def test_a_cleaned_word_with_digits_goes_back_however_it_was_read() -> None:
    assert decisions(pair(("4eeu", 0.1), ("the", 0.6)), ambiguous=None) == [("the", "digits", True)]


def test_digits_that_only_linear_filters_show_go_back() -> None:
    drawn = pair(("ID", 0.9), ("10", 0.6))
    unread = without_misread_digits(pair(("1D", 0.2), ("ID", 0.9)))
    assert decisions(unread, ambiguous=(drawn,)) == [("10", AMBIGUOUS, True)]
    assert decisions(ambiguous=(drawn,), trust_digits=True) == [("10", AMBIGUOUS, False)]


@pytest.mark.parametrize(("linear", "confidence"), [("he1p", 0.9), ("10", 0.3)])
def test_digits_that_linear_filters_show_unsurely_or_in_letters_are_listed(linear: str, confidence: float) -> None:
    drawn = pair(("help", 0.9), (linear, confidence))
    assert is_ambiguous(drawn, "") and decisions(ambiguous=(drawn,)) == [(linear, AMBIGUOUS, False)]


def test_a_word_has_one_decision() -> None:
    number, word = pair(("17", 0.9), ("11", 0.5)), pair(("market", 0.9), ("marker", 0.9), (105, 5, 195, 35))
    drawn = pair(("11", 0.5), ("17", 0.9)), pair(("marker", 0.9), ("market", 0.7), (105, 5, 195, 35))
    assert decisions(number, word, ambiguous=drawn) == [("11", "digits", True), ("market", AMBIGUOUS, False)]


def test_a_word_that_the_network_lost_is_listed() -> None:
    lost = pair(("house", 0.7), ("", 0.0))
    assert decisions(lost, ambiguous=(pair(("", 0.0), ("house", 0.7)),)) == [("", "word not certain", False)]


@pytest.mark.parametrize(
    ("drawn", "linear", "given", "ambiguous"),
    [
        ("caps", "maps", "", True),
        ("Remorse", "Bemrose", "", True),  # which may be a name
        ("silence", "silane", "silane", True),
        ("report", "report1", "", True),
        ("", "returned", "", True),
        ("returned", "", "", True),
        ("tcst", "test", "", True),
        ("ralny", "rainy", "", False),  # the dot alone
        ("fall", "fail", "", True),  # both are words
        ("In", "in", "", False),
        ("as", "a5", "", True),
        ("ll", "11", "", True),
        ("delay.", "delay,", "", False),
        ("without", "witbout", "", False),  # not read, where the network shows a common word
        ("the", "the", "tbe", False),
    ],
)
def test_words_are_ambiguous_where_linear_filters_show_another_word(
    drawn: str, linear: str, given: str, ambiguous: bool
) -> None:
    assert is_ambiguous(pair((drawn, 0.9), (linear, 0.9)), given) == ambiguous


@pytest.mark.parametrize(
    ("drawn", "linear", "ambiguous"), [("as", "os", False), ("tcst", "test", True), ("as", "5", True)]
)
def test_what_is_not_surely_read_speaks_against_no_common_word(drawn: str, linear: str, ambiguous: bool) -> None:
    assert is_ambiguous(pair((drawn, 0.9), (linear, 0.4)), "") == ambiguous
