"""Which tokens a word of a prompt became, by the places in the text that a tokenizer gives back."""

import re
from collections.abc import Sequence

from fastdiff.models.backbone import Word

WORD = re.compile(r"\w+(?:['’.-]\w+)*")  # letters and digits; marks join them, but do not begin or end a word
Span = tuple[int, int]  # first character, and the one after the last; empty for a token that no text stands behind


def words_of(text: str, spans: Sequence[Span]) -> tuple[Word, ...]:
    """The words of `text` that have tokens, given the span of every token of the sequence.

    A token belongs to every word that it overlaps. Punctuation and special tokens belong to none.
    """
    found = ((match.group(), _overlapping(match.span(), spans)) for match in WORD.finditer(text))
    return tuple(Word(word, tokens) for word, tokens in found if tokens)


def words_beyond(text: str, spans: Sequence[Span]) -> str:
    """The words of `text`, with spaces between them, that have a token among these: those which did not fit."""
    return " ".join(word.text for word in words_of(text, spans))


def _overlapping(word: Span, spans: Sequence[Span]) -> tuple[int, ...]:
    start, end = word
    return tuple(i for i, (first, last) in enumerate(spans) if first < last and first < end and last > start)
