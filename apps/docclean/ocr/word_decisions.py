"""Decides which words of a restored page go back to the given one, and which stay and are listed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fastdiff.apps.docclean.imaging.regions import any_holds_middle
from fastdiff.apps.docclean.ocr.word_comparison import (
    COMMON,
    RECOVERED,
    STOPS,
    WordPair,
    has_digits,
    is_misread,
    is_recovered,
    is_word,
)

OUTLINES = str.maketrans("jl|", "iii")  # letters that only a dot or a hook tells apart
CAUSES = {"digits": "digits", "word changed": "word changed", "unsure": "word not certain"}  # judgement -> cause
AMBIGUOUS = "ambiguous word"  # the cause of words that the network and the linear filters show differently


@dataclass(frozen=True)
class WordDecision:
    """A pair of words with the cause for which it is listed; with `goes_back` the given page replaces the restored."""

    pair: WordPair
    cause: str
    goes_back: bool


def decide(pairs: Sequence[WordPair], ambiguous: Sequence[WordPair] | None, trust_digits: bool) -> list[WordDecision]:
    """Return one decision for each changed word of a restored page.

    `pairs` compare the given page with the restored one. `ambiguous` are pairs of a deblurred page as `is_ambiguous`
    describes them; None for other pages. `trust_digits` lets words with digits stay.
    """
    changed = [pair for pair in pairs if pair.judgement in CAUSES]
    back = [pair for pair in changed if _goes_back(pair, ambiguous is not None, trust_digits)]
    others = [pair for pair in ambiguous or () if not _in_place(pair, back)]
    drawn = [WordDecision(pair, AMBIGUOUS, _linear_goes_back(pair, trust_digits)) for pair in others]
    drawn = [each for each in drawn if each.goes_back or each.pair.before]
    listed = [*back, *(each.pair for each in drawn)]
    stay = (pair for pair in changed if pair.differs and not _in_place(pair, listed))
    return [
        *(WordDecision(pair, CAUSES[pair.judgement], True) for pair in back),
        *drawn,
        *(WordDecision(pair, CAUSES[pair.judgement], False) for pair in stay),
    ]


def without_misread_digits(pair: WordPair) -> WordPair:
    """Return a pair of a deblurred page without the digits that an engine takes blurred letters for.

    It could read no word. Of 168 such words that easyocr and rapidocr read on eight blurred columns and six documents,
    none was a number.
    """
    if pair.judgement != "digits" or not _is_one_unread(pair) or not pair.after or has_digits(pair.after):
        return pair
    return replace(pair, judgement="recovered" if is_recovered(pair.after, pair.confidences[1]) else "unsure")


def hides_words(pair: WordPair) -> bool:
    """True if several words, some with digits, are read on the restored page in place of one that could not be.

    Engines take much of a blurred line for one word.
    """
    return _is_one_unread(pair) and " " in pair.after and has_digits(pair.after)


def is_ambiguous(pair: WordPair, given: str) -> bool:
    """True if the network (`before`) and linear filters (`after`) show different words where they deblurred a page.

    Blur made such a word ambiguous: the network decided what stands there. Punctuation around a word and its case make
    no other word, nor do dots and hooks unless both are common words ("fall" and "fail"). Much of a linearly sharpened
    page cannot be read: letters that spell no word or are not surely read do not speak against a common word of the
    network, unless they are also read on the given page, whose reading is `given`.
    """
    if not pair.differs or _same_word(pair.before, pair.after):
        return False
    unread = (is_misread(pair.after) or pair.confidences[1] < RECOVERED) and not has_digits(pair.after)
    return not (unread and pair.after != given and is_word(pair.before, COMMON))


def _same_word(drawn: str, linear: str) -> bool:
    """True if two readings differ at most by what engines mistake: punctuation, and in words case, dots and hooks."""
    one, other = drawn.strip(STOPS), linear.strip(STOPS)
    if has_digits(one + other):
        return one == other
    one, other = one.lower(), other.lower()
    if one == other:
        return True
    return one.translate(OUTLINES) == other.translate(OUTLINES) and not (
        is_word(one, COMMON) and is_word(other, COMMON)
    )


def is_clear(ambiguous: WordPair) -> bool:
    """True if a word is surely read on the linearly sharpened page, and none on the deblurred one.

    Of 24 such words that rapidocr read on eight blurred documents and ten columns, 23 were right.
    """
    return ambiguous.judgement == "recovered" and ambiguous.surer


def _is_one_unread(pair: WordPair) -> bool:
    """True if at most one word was found on the given page, and could not be read."""
    return pair.confidences[0] < RECOVERED and " " not in pair.before


def _linear_goes_back(ambiguous: WordPair, trust_digits: bool) -> bool:
    """True if an ambiguous word is to be written as linear filters show it: a clear word, or digits that the network
    does not show.
    """
    number = has_digits(ambiguous.after) and not has_digits(ambiguous.before) and not is_misread(ambiguous.after)
    return is_clear(ambiguous) or (number and not trust_digits and ambiguous.confidences[1] >= RECOVERED)


def _goes_back(pair: WordPair, deblurred: bool, trust_digits: bool) -> bool:
    """True if the word of the given page is to be written.

    A deblurred word, blurred again, is the word of the given page. It goes back only if it was surely read before and
    is less surely read now. Of 763 words that rapidocr read otherwise on eight blurred documents and four columns, 727
    became right and 7 wrong.
    """
    if pair.judgement == "digits":
        return not trust_digits
    return not deblurred or (pair.judgement == "word changed" and not pair.surer)


def _in_place(pair: WordPair, others: Iterable[WordPair]) -> bool:
    return any_holds_middle((other.box for other in others), pair.box)
