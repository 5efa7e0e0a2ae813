"""Compares the words of two readings of a page place by place, and judges each change."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastdiff.apps.docclean.imaging.regions import Box
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.text_metrics import standard

SURE = 0.8  # confidence from which a word counts as read on the given page
RECOVERED = 0.5  # confidence from which a word counts as read on the cleaned page
SHORTEST = 3  # letters of a word
STOPS = ".,;:!?()[]\"'"  # around words
COMMON = 3.0  # Zipf frequency of a recovered word: wordfreq lists misreadings such as "tbe" (2.5) as rare words
VERY_COMMON = 5.5  # Zipf frequency of words such as "as" (6.8) and "no" (6.3); "hn" has 2.7
REACH = 1.5  # characters by which the sides of a word may be off
GAP = 0.6  # characters: least gap between words
GRAIN = 16  # grey levels that grain varies by
SHARED = 0.5  # share of the lower height and of the smaller width that words in one place have in common

Judgement = Literal["same", "digits", "recovered", "word changed", "unsure"]


@dataclass(frozen=True)
class WordPair:
    """The words read in one place of a page before and after cleaning, with the judgement on their change.

    `before` and `after` are "" for an empty reading. Judgements: "digits" in either text; the "same" text; a word
    "recovered" that could not be read before; a "word changed" that was surely read before; "unsure" otherwise.
    `confidences` are those of the words before and after, in [0, 1], 0 for an empty reading.
    """

    box: Box
    before: str
    after: str
    judgement: Judgement
    confidences: tuple[float, float]

    @property
    def sure(self) -> bool:
        """True if the word was surely read before."""
        return self.confidences[0] >= SURE

    @property
    def surer(self) -> bool:
        """True if the word is surely read after, and at least as surely as before."""
        before, after = self.confidences
        return after >= max(before, SURE)

    @property
    def number_lost(self) -> bool:
        """True if a number was surely read before, and another text after."""
        return self.number and self.differs

    @property
    def differs(self) -> bool:
        """True if the texts differ by more than blanks and typography."""
        return not _same_text(self.before, self.after)

    @property
    def number(self) -> bool:
        """True if a word with digits, other than a misread word, was surely read before."""
        return self.sure and has_digits(self.before) and not is_misread(self.before)

    @property
    def texts(self) -> str:
        """Both readings, for people."""
        return f"{self.before} -> {self.after}"


def compare(before: Reading, after: Reading, page: np.ndarray) -> tuple[WordPair, ...]:
    """Return the pairs of all words of two readings of a page.

    Boxes are fitted to `page`, grey uint8 (H, W), dark on light: their sides move to gaps between strokes.
    """
    sides = before.words, after.words
    first, second = sides
    count = len(first) + len(second)
    one, other = np.nonzero(overlap(first, second))
    links = coo_array((np.ones(len(one)), (one, other + len(first))), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    groups: dict[int, tuple[list[Fragment], list[Fragment]]] = {}
    for number, label in enumerate(labels.tolist()):
        which, index = (0, number) if number < len(first) else (1, number - len(first))
        groups.setdefault(label, ([], []))[which].append(sides[which][index])
    return tuple(_pair(*group, page) for group in groups.values())


def overlap(first: Sequence[Fragment], second: Sequence[Fragment]) -> np.ndarray:
    """Return the matrix, bool (N, M), of pairs of N and M words that lie in one place."""
    one, other = (np.array([word.box for word in words], np.float32).reshape(-1, 4) for words in (first, second))
    shared = np.ones((len(first), len(second)), np.bool_)
    for low, high in ((0, 2), (1, 3)):
        a, b = one[:, None], other[None]
        overlap = np.minimum(a[..., high], b[..., high]) - np.maximum(a[..., low], b[..., low])
        shared &= overlap > SHARED * np.minimum(a[..., high] - a[..., low], b[..., high] - b[..., low])
    return shared


def words_in(box: Box, words: Sequence[Fragment]) -> list[Fragment]:
    """Return the words that lie in a box."""
    inside = np.flatnonzero(overlap([Fragment("", 0.0, box)], words)[0]).tolist()
    return [words[index] for index in inside]


def text_in(box: Box, words: Sequence[Fragment]) -> str:
    """Return the text of the words that lie in a box, from left to right."""
    return _text(words_in(box, words))


def _pair(before: list[Fragment], after: list[Fragment], page: np.ndarray) -> WordPair:
    old, new = _text(before), _text(after)
    box = _fitted([word.box for word in (*before, *after)], max(len(old), len(new)), page)
    sure, sure_after = _confidence(before), _confidence(after)
    return WordPair(box, old, new, _judge(old, new, sure, sure_after), (sure, sure_after))


def _text(words: list[Fragment]) -> str:
    return " ".join(word.text for word in sorted(words, key=lambda word: word.box[0]))


def _confidence(words: list[Fragment]) -> float:
    return min((word.confidence for word in words), default=0.0)


def _judge(before: str, after: str, sure_before: float, sure_after: float) -> Judgement:
    found = is_word(after, COMMON)
    if found and sure_after >= SURE and is_misread(before):
        return "recovered"
    if has_digits(before + after):
        return "digits"
    if _same_text(before, after):
        return "same" if max(sure_before, sure_after) >= RECOVERED else "unsure"
    if sure_before >= SURE:
        return "word changed"
    return "recovered" if is_recovered(after, sure_after) else "unsure"


def is_recovered(text: str, confidence: float) -> bool:
    """True for a common word that counts as read on the cleaned page, where none was surely read before."""
    return confidence >= RECOVERED and is_word(text, COMMON)


def has_digits(text: str) -> bool:
    """True if a character of a text is a digit."""
    return any(character.isdigit() for character in text)


def _same_text(before: str, after: str) -> bool:
    """True if two texts differ by blanks and typography alone."""
    return standard(before).replace(" ", "") == standard(after).replace(" ", "")


def is_word(text: str, least: float = 0.0) -> bool:
    """True for a word of wordfreq's English list, with or without punctuation around it.

    The Zipf frequency of the word, up to 8, is above 0 and at least `least`; words below SHORTEST letters need
    VERY_COMMON, since the list holds any two letters.
    """
    from wordfreq import zipf_frequency

    bare = text.strip(STOPS)
    if not re.fullmatch(r"[A-Za-z]+(['-][A-Za-z]+)*", standard(bare)):
        return False
    least = max(least, 0.01) if len(bare) >= SHORTEST else VERY_COMMON  # unknown words have 0
    return zipf_frequency(standard(bare).lower(), "en") >= least


def is_misread(text: str) -> bool:
    """True for lower-case letters that are no common English word, with at most one digit for every three letters.

    Engines read blurred words like this, often with high confidence. Capitalised words are excluded: they may be names.
    """
    bare = text.strip(STOPS)
    letters = sum(letter.isalpha() for letter in bare)
    plain = bool(re.fullmatch(r"[a-z0-9]+", bare)) and 3 * (len(bare) - letters) <= letters
    return plain and letters >= SHORTEST and not is_word(bare, COMMON)


def _fitted(boxes: Sequence[tuple[float, float, float, float]], characters: int, page: np.ndarray) -> Box:
    """Return the box around boxes, with its sides moved by at most REACH characters to the middle of gaps between
    words.

    The sides of a lone narrow stroke stay if both find the same gap.
    """
    left, top = (max(int(min(box[axis] for box in boxes)), 0) for axis in (0, 1))
    right, bottom = (int(np.ceil(max(box[axis] for box in boxes))) for axis in (2, 3))
    width = (right - left) / max(characters, 1)
    line = page[top:bottom]
    moved = _gap(line, left, width), _gap(line, right, width)
    left, right = moved if moved[0] < moved[1] else (left, right)
    return left, top, right, bottom


def _gap(line: np.ndarray, side: int, width: float) -> int:
    """Return the column near a side with the least ink around it; characters of the line (h, W) have this width."""
    right: int = line.shape[1]
    first, last = max(side - round(2 * REACH * width), 0), min(side + round(2 * REACH * width) + 1, right)
    if first >= last or not len(line):
        return min(max(side, 0), right)
    ink = 255 - line[:, first:last].min(0).astype(np.float32)
    around = cv2.blur(ink[None], (max(round(GAP * width), 1), 1), borderType=cv2.BORDER_REPLICATE)[0]
    columns = np.arange(first, last)
    near = np.abs(columns - side) <= max(REACH * width, 1)
    order = np.lexsort((np.abs(columns - side), np.where(near, around // GRAIN, np.inf)))
    return int(columns[order[0]])
