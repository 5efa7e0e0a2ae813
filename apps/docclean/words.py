"""Compares the words of two readings of a page by where they stand, and judges each change."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastdiff.apps.docclean.ocr import Fragment, Reading
from fastdiff.apps.docclean.regions import Box
from fastdiff.apps.docclean.text import standard

SURE = 0.8  # confidence from which a word counts as read on the page as it came
RECOVERED = 0.5  # confidence from which a word counts as read on the cleaned page
SHORTEST = 3  # letters of a word that counts as recovered
SHARED = 0.5  # share of the lower height and of the smaller width that words in one place have in common

Judgement = Literal["same", "digits", "recovered", "word changed", "unsure"]


@dataclass(frozen=True)
class Place:
    """A place of a page with the words read there before and after cleaning, and the judgement.

    `before` and `after` are "" where nothing was read. Judgements: "same" text; "digits" in either text; a word
    "recovered", that could not be read before; a surely read "word changed"; "unsure" where neither text is certain.
    """

    box: Box
    before: str
    after: str
    judgement: Judgement


def compare(before: Reading, after: Reading) -> tuple[Place, ...]:
    """Places of all words of the two readings."""
    words = [(0, each) for each in _words(before)] + [(1, each) for each in _words(after)]
    return tuple(_place(group) for group in _groups(words))


def _words(reading: Reading) -> list[Fragment]:
    """The fragments of a reading, split at blanks by each character's share of the width."""
    found = []
    for fragment in (fragment for line in reading.lines for fragment in line):
        left, top, right, bottom = fragment.box
        scale = (right - left) / max(len(fragment.text), 1)
        for match in re.finditer(r"\S+", fragment.text):
            span = left + match.start() * scale, top, left + match.end() * scale, bottom
            found.append(Fragment(match.group(), fragment.confidence, span))
    return found


def _groups(words: Sequence[tuple[int, Fragment]]) -> list[list[tuple[int, Fragment]]]:
    """Words that share a place, directly or through others."""
    groups: list[list[tuple[int, Fragment]]] = []
    for word in words:
        joined = [group for group in groups if any(_overlap(word[1], other) for _, other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([word, *(each for group in joined for each in group)])
    return groups


def _overlap(a: Fragment, b: Fragment) -> bool:
    across = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    down = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    width = min(a.box[2] - a.box[0], b.box[2] - b.box[0])
    height = min(a.box[3] - a.box[1], b.box[3] - b.box[1])
    return across >= SHARED * width and down >= SHARED * height


def _place(group: Sequence[tuple[int, Fragment]]) -> Place:
    sides = [sorted((word for side, word in group if side == which), key=lambda word: word.box[0]) for which in (0, 1)]
    before, after = (" ".join(word.text for word in words) for words in sides)
    sure = [min((word.confidence for word in words), default=0.0) for words in sides]
    corners = [word.box for _, word in group]
    left, top = (int(min(box[axis] for box in corners)) for axis in (0, 1))
    right, bottom = (int(max(box[axis] for box in corners)) + 1 for axis in (2, 3))
    return Place((left, top, right, bottom), before, after, _judge(before, after, sure[0], sure[1]))


def _judge(before: str, after: str, sure_before: float, sure_after: float) -> Judgement:
    if any(character.isdigit() for character in before + after):
        return "digits"
    if standard(before).replace(" ", "") == standard(after).replace(" ", ""):
        return "same"
    if sure_before >= SURE:
        return "word changed"
    return "recovered" if sure_after >= RECOVERED and is_word(after) else "unsure"


def is_word(text: str) -> bool:
    """True for a word of letters, SHORTEST or more, that wordfreq's English list knows; punctuation may surround it."""
    from wordfreq import zipf_frequency

    bare = text.strip(".,;:!?()[]\"'")
    return bool(re.fullmatch(rf"[A-Za-z]{{{SHORTEST},}}", bare)) and zipf_frequency(bare.lower(), "en") > 0
