"""Maps the words of a prompt to their tokens, by the character spans that a tokenizer returns."""

import re
from collections.abc import Container, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from fastdiff.models.diffusion_model import PADDING, Word

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import BatchEncoding

WORD = re.compile(r"\w+(?:['’.-]\w+)*")  # letters and digits; marks join them, but do not begin or end a word
Span = tuple[int, int]  # first character, and the one after the last; empty for a token that no text stands behind


def words_of(text: str, spans: Sequence[Span], lost: Container[int] = ()) -> tuple[Word, ...]:
    """Return the words of `text` that have tokens, given the span of every token of the sequence.

    A token belongs to every word that it overlaps. Punctuation and special tokens belong to none. A word with a token
    in `lost` (positions in the sequence) is marked as unknown.
    """
    found = ((match.group(), _overlapping(match.span(), spans)) for match in WORD.finditer(text))
    return tuple(Word(word, tokens, not any(token in lost for token in tokens)) for word, tokens in found if tokens)


def words_beyond(text: str, spans: Sequence[Span]) -> str:
    """Return the words of `text` that have a token among these, joined by spaces: those beyond the token limit."""
    return " ".join(word.text for word in words_of(text, spans))


def read_encodings(
    texts: Sequence[str], encoded: "BatchEncoding", unknown: int | None = None
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[Word, ...], ...], tuple[str, ...]]:
    """Return, per text, the ids that count, the words, and the truncated words.

    `unknown` is the id of the tokenizer's unknown token.
    """
    encodings = [encoded[row] for row in range(len(texts))]
    beyond = [[span for rest in encoding.overflowing for span in rest.offsets] for encoding in encodings]
    return (
        tuple(tuple(encoding.ids[: sum(encoding.attention_mask)]) for encoding in encodings),
        tuple(
            words_of(text, encoding.offsets, _lost(text, encoding, unknown))
            for text, encoding in zip(texts, encodings, strict=True)
        ),
        tuple(words_beyond(text, spans) for text, spans in zip(texts, beyond, strict=True)),
    )


def join_encodings(
    texts: Sequence[str], encoded: Sequence["BatchEncoding"]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[Word, ...], ...], tuple[str, ...]]:
    """Return what `read_encodings` does, of several text encoders whose sequences are concatenated.

    The ids have PADDING between the sequences. Words have tokens of each. Truncated words are those beyond the limit of
    the last text encoder; no word is unknown, because CLIP has tokens for all letters.
    """
    found = [[part[row] for part in encoded] for row in range(len(texts))]
    spans = [[span for encoding in parts for span in encoding.offsets] for parts in found]
    beyond = [[span for rest in parts[-1].overflowing for span in rest.offsets] for parts in found]
    return (
        tuple(_joined_ids(parts) for parts in found),
        tuple(words_of(text, each) for text, each in zip(texts, spans, strict=True)),
        tuple(words_beyond(text, each) for text, each in zip(texts, beyond, strict=True)),
    )


def _joined_ids(parts: Sequence["Encoding"]) -> tuple[int, ...]:
    """Return the ids of the concatenated sequences, up to the last that counts."""
    counts = [sum(each.attention_mask) for each in parts]
    own = [each.ids[:count] + [PADDING] * (len(each) - count) for each, count in zip(parts, counts, strict=True)]
    return tuple(chain.from_iterable(own))[: sum(map(len, own[:-1])) + counts[-1]]


def read_after(
    before: str, text: str, encoding: "Encoding", taken: Sequence[int], unknown: int | None
) -> tuple[tuple[tuple[int, ...]], tuple[tuple[Word, ...]], tuple[str]]:
    """Return ids, words and truncated words of one prompt after an instruction, at the positions that are taken.

    `encoding` is of `before` and `text` together; the words are those of `text`.
    """

    def own(spans: Sequence[Span]) -> list[Span]:
        start = len(before)
        return [(max(first - start, 0), max(last - start, 0)) for first, last in spans]

    spans, beyond = own(encoding.offsets), own([span for rest in encoding.overflowing for span in rest.offsets])
    ids = [encoding.ids[place] for place in taken]
    lost = {place for place, old in enumerate(taken) if ids[place] == unknown and WORD.search(text[slice(*spans[old])])}
    counts = sum(encoding.attention_mask[place] for place in taken)
    words = words_of(text, [spans[place] for place in taken], lost)
    return (tuple(ids[:counts]),), (words,), (words_beyond(text, beyond),)


def _lost(text: str, encoding: "Encoding", unknown: int | None) -> set[int]:
    """Return the positions of unknown tokens; unknown punctuation does not count."""
    tokens = enumerate(zip(encoding.ids, encoding.offsets, strict=True))
    return {place for place, (token, span) in tokens if token == unknown and WORD.search(text[slice(*span)])}


def _overlapping(word: Span, spans: Sequence[Span]) -> tuple[int, ...]:
    start, end = word
    return tuple(i for i, (first, last) in enumerate(spans) if first < last and first < end and last > start)
