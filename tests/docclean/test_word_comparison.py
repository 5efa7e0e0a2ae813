"""Words of two readings, aligned by where they stand."""

import cv2
import numpy as np
import pytest

from fastdiff.apps.docclean.ocr import engines
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.word_comparison import compare, is_word

BLANK = np.full((200, 600), 255, np.uint8)


def reading(*words: tuple[str, float, tuple[float, float, float, float]]) -> Reading:
    return Reading((tuple(Fragment(*word) for word in words),), 0.0)


PLACE = (100.0, 50.0, 160.0, 70.0)


@pytest.mark.parametrize(
    ("before", "after", "judgement"),
    [
        (("river", 0.9), ("river", 0.4), "same"),
        (("river", 0.3), ("river", 0.4), "unsure"),
        (("\u201criver\u201d", 0.9), ('"river"', 0.9), "same"),
        (("river", 0.9), ("rover", 0.99), "word changed"),
        (("river", 0.9), None, "word changed"),
        (("rjvcr", 0.6), ("river", 0.9), "recovered"),
        (None, ("river,", 0.5), "recovered"),
        (None, ("river", 0.49), "unsure"),
        (("rjvcr", 0.6), ("rivxr", 0.9), "unsure"),
        (("rjvcr", 0.6), None, "unsure"),
        (("rjvcr", 0.9), ("river", 0.9), "recovered"),
        (("rjvcr", 0.9), ("river", 0.7), "word changed"),
        (("Rjvcr", 0.9), ("River", 0.9), "word changed"),
        (("r1ver", 0.9), ("river", 0.9), "recovered"),
        (("r1v3r", 0.9), ("river", 0.9), "digits"),
        (("4th", 0.9), ("with", 0.9), "digits"),
        (("at", 0.3), ("on", 0.9), "recovered"),
        (("at", 0.3), ("hn", 0.9), "unsure"),
        (("4,250.75", 0.99), ("4,250.75", 0.99), "digits"),
        (("SOLO", 0.4), ("5010", 0.9), "digits"),
        (("5010", 0.1), ("SOLO", 0.99), "digits"),
        (None, ("12.8.2017", 0.9), "digits"),
    ],
)
def test_each_change_of_a_word_is_judged(
    before: tuple[str, float] | None, after: tuple[str, float] | None, judgement: str
) -> None:
    first, second = (reading((*word, PLACE)) if word else Reading((), 0.0) for word in (before, after))
    (pair,) = compare(first, second, BLANK)
    assert pair.judgement == judgement
    assert (pair.before, pair.after) == tuple(word[0] if word else "" for word in (before, after))


def test_words_are_aligned_by_place_and_not_by_order() -> None:
    left, right, below = (20.0, 50.0, 80.0, 70.0), (200.0, 50.0, 260.0, 70.0), (20.0, 90.0, 80.0, 110.0)
    before = reading(("left", 0.9, left), ("right", 0.9, right), ("below", 0.9, below))
    after = reading(("below", 0.9, below), ("night", 0.9, (203, 48, 262, 71)), ("left", 0.9, left))
    word_pairs = {pair.before: pair for pair in compare(before, after, BLANK)}
    assert {text: pair.judgement for text, pair in word_pairs.items()} == {
        "left": "same",
        "right": "word changed",
        "below": "same",
    }
    assert word_pairs["right"].texts == "right -> night"


def test_a_word_in_two_pieces_is_compared_as_one() -> None:
    before = reading(("foot", 0.9, (100, 50, 140, 70)), ("path", 0.9, (142, 50, 180, 70)))
    (pair,) = compare(before, reading(("footpath", 0.9, (100, 50, 180, 70))), BLANK)
    assert pair.judgement == "same" and pair.before == "foot path"


def test_words_of_a_line_are_placed_by_their_share_and_their_sides_move_to_gaps() -> None:
    """The engine gives one box for two words; the page shows that the gap is a little further left than that."""
    page = BLANK.copy()
    page[55:65, 100:150:2] = page[55:65, 162:260:2] = 0
    line = (100.0, 50.0, 260.0, 70.0)
    word_pairs = compare(reading(("total 4,250.75", 0.9, line)), Reading((), 0.0), page)
    boxes = {pair.before: pair.box for pair in word_pairs}
    assert 149 <= boxes["total"][2] <= 162 and 149 <= boxes["4,250.75"][0] <= 162
    assert boxes["total"][0] <= 100 and boxes["4,250.75"][2] >= 259


def test_the_place_of_a_box_in_a_thick_stroke_has_a_width() -> None:
    """The gap before the stroke is the nearest to both sides of the box."""
    page = BLANK.copy()
    page[40:70, 48:56] = 90
    mark = reading(("I", 0.9, (46, 40, 52, 70)))
    (pair,) = compare(mark, mark, page)
    assert pair.box == (46, 40, 52, 70)


@pytest.mark.parametrize(
    ("text", "known"),
    [("river", True), ("River,", True), ('"(river)"', True), ("of", True), ("hn", False), ("rivxrz", False)],
)
def test_words_are_letters_that_the_dictionary_knows(text: str, known: bool) -> None:
    assert is_word(text) is known


def test_rapidocr_places_every_word_of_a_line() -> None:
    page = np.full((80, 700), 255, np.uint8)
    style = cv2.FONT_HERSHEY_SIMPLEX, 1.2, 2
    words = ["The", "sum", "of", "4,250.75", "was", "paid"]
    cv2.putText(page, " ".join(words), (20, 50), style[0], style[1], 0, style[2], cv2.LINE_AA)
    engine = engines.load_engine("rapidocr", "cpu")
    assert engine is not None
    read = engine.read(page)
    assert [word.text for word in read.words] == words
    word_pairs = {pair.before: pair for pair in compare(read, read, page)}
    left, right = (20 + cv2.getTextSize(text, *style)[0][0] for text in ("The sum of ", "The sum of 4,250.75 "))
    box = word_pairs["4,250.75"].box
    assert left - 20 <= box[0] <= left + 2 and right - 22 <= box[2] <= right + 2
