"""Alignment of the tokens of a source and a target prompt (Prompt-to-Prompt, Hertz et al. 2022, arXiv 2208.01626).

An alignment is a matrix (L, L): entry (i, j) is the share of source token i's attention that target token j takes. A
column of zeros marks a token without a counterpart, which keeps its own attention.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor

from fastdiff.models.diffusion_model import PADDING, Conditioning, Word
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class Sentence:
    """A prompt as one text encoder reads it."""

    ids: tuple[int, ...]  # of the tokens that count, special ones included, padding not
    words: tuple[Word, ...]  # with positions from the first token of this text encoder


def alignment(source: Conditioning, target: Conditioning) -> Tensor:
    """Align the first prompts of source and target, (L, L): the tokens of every text encoder among themselves.

    Padding that the network attends to is aligned by position.
    """
    matrices = []
    for one, another, part in _sentences(source, target):
        padding = align_padding(one, another, source.mask[0, part])
        matrices.append(align(one, another, len(padding)).to(padding) + padding)
    matrix: Tensor = torch.block_diag(*matrices)
    return matrix


def changed_words(source: Conditioning, target: Conditioning) -> Tensor:
    """1 for the tokens of words that only one of the first prompts has, by every text encoder, (2, L)."""
    return torch.cat(
        [changed(one, another, part.stop - part.start) for one, another, part in _sentences(source, target)], dim=1
    )


def align(source: Sentence, target: Sentence, length: int) -> Tensor:
    """The matrix (length, length) of `replace` where every word has a counterpart, and of `refine` elsewhere."""
    if len(_units(source)) == len(_units(target)):
        return replace(source, target, length)
    return refine(source.ids, target.ids, length)


def align_padding(source: Sentence, target: Sentence, attended: Tensor) -> Tensor:
    """The matrix (L, L) that aligns padding of both prompts by position, where the network attends to it.

    `attended` (L,) is True at those positions; its device is that of the matrix.
    """
    positions = torch.arange(len(attended), device=attended.device)
    return ((positions >= max(len(source.ids), len(target.ids))) & attended).float().diag()


def replace(source: Sentence, target: Sentence, length: int) -> Tensor:
    """Word by word: the n-th word of the target takes the attention of the source's n-th (section 3.2, "word swap").

    Between words of equally many tokens, token by token; otherwise every token of the target's word takes an equal part
    of all. Punctuation and special tokens are words of their own. (The authors' code loses step after a word whose
    number of tokens changes; this does not.)

    Raises UsageError for unequal numbers of words.
    """
    ours, theirs = _units(source), _units(target)
    if len(ours) != len(theirs):
        raise UsageError(
            f"prompts of {len(ours)} and {len(theirs)} words and marks: words are replaced one by one, refine these"
        )
    matrix = torch.zeros(length, length)
    for old, new in zip(ours, theirs, strict=True):
        if len(old) == len(new):
            matrix[old, new] = 1
        else:
            matrix[torch.tensor(old)[:, None], new] = 1 / len(new)
    return matrix


def refine(source: Sequence[int], target: Sequence[int], length: int) -> Tensor:
    """Token by token where the ids agree in order, nothing for tokens that were added (section 3.2, "new phrase").

    Needleman and Wunsch's global alignment with gap 0, match 1 and mismatch -1: two gaps beat a mismatch, so tokens are
    paired with their like alone.
    """
    score = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, old in enumerate(source, 1):
        for j, new in enumerate(target, 1):
            score[i][j] = max(score[i][j - 1], score[i - 1][j], score[i - 1][j - 1] + (1 if old == new else -1))
    matrix = torch.zeros(length, length)
    i, j = len(source), len(target)
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            matrix[i, j] = 1
    return matrix


def by_word(words: Sequence[Word], requests: Sequence[str], length: int, default: float) -> Tensor:
    """A number for every token (length,), from requests such as "stripes:1.5"; `default` where none asks.

    Words are named as for `find`. Raises UsageError for a word that is absent and what is no finite number.
    """
    numbers = torch.full((length,), default)
    for request in requests:
        name, mark, text = request.rpartition(":")
        number = _number(text if mark else "", request)
        tokens = find(words, name)
        if not tokens:
            raise absent(name, words)
        numbers[list(tokens)] = number
    return numbers


def named(prompts: Sequence[Sequence[Word]], names: Sequence[str], length: int) -> Tensor:
    """1 for the tokens of the named words wherever a prompt has them, (prompts, length).

    Raises UsageError for a word that no prompt has.
    """
    tokens = torch.zeros(len(prompts), length)
    for name in names:
        found = [find(words, name) for words in prompts]
        if not any(found):
            raise absent(name, [word for words in prompts for word in words])
        for row, positions in zip(tokens, found, strict=True):
            row[list(positions)] = 1
    return tokens


def changed(source: Sentence, target: Sentence, length: int) -> Tensor:
    """1 for the tokens of words that only one of the two has, in the order of `refine`, (2, length)."""
    matrix = refine(source.ids, target.ids, length)
    return torch.stack([_of_words(each, length) * (matrix.sum(1 - i) == 0) for i, each in enumerate((source, target))])


def find(words: Sequence[Word], name: str) -> tuple[int, ...]:
    """Tokens of a word or a run of words, in any case: "dog" is every dog, "dog#2" the second; none if absent."""
    text, mark, number = name.rpartition("#")
    if not (mark and number.isdecimal()):
        text, number = name, ""
    texts, wanted = [word.text.casefold() for word in words], text.casefold().split()
    starts = [i for i in range(len(texts)) if wanted and texts[i : i + len(wanted)] == wanted]
    if number:
        starts = [start for count, start in enumerate(starts, 1) if count == int(number)]
    return tuple(token for start in starts for word in words[start : start + len(wanted)] for token in word.tokens)


def absent(name: str, words: Sequence[Word]) -> UsageError:
    """The sentence for a word that is not among these."""
    return UsageError(f"no word {name!r} in the prompt: it has {', '.join(word.text for word in words) or 'none'}")


def _sentences(source: Conditioning, target: Conditioning) -> Iterator[tuple[Sentence, Sentence, slice]]:
    """Yield the first prompts of source and target as every text encoder reads them, with the places of its tokens."""
    for start, end in pairwise((*source.starts, source.mask.shape[1])):
        one, another = (_part(each, start, end) for each in (source, target))
        yield one, another, slice(start, end)


def _part(prompt: Conditioning, start: int, end: int) -> Sentence:
    words = [dataclasses.replace(word, tokens=_within(word.tokens, start, end)) for word in prompt.words[0]]
    ids = tuple(token for token in prompt.ids[0][start:end] if token != PADDING)
    return Sentence(ids, tuple(word for word in words if word.tokens))


def _within(tokens: Sequence[int], start: int, end: int) -> tuple[int, ...]:
    return tuple(token - start for token in tokens if start <= token < end)


def _of_words(sentence: Sentence, length: int) -> Tensor:
    """1 for the tokens of words, (length,); special tokens and punctuation belong to none."""
    tokens = torch.zeros(length)
    tokens[[token for word in sentence.words for token in word.tokens]] = 1
    return tokens


def _units(sentence: Sentence) -> list[list[int]]:
    """Token positions of the words, in order, and of every token between them."""
    owned = {token for word in sentence.words for token in word.tokens}
    alone = [[token] for token in range(len(sentence.ids)) if token not in owned]
    return sorted([list(word.tokens) for word in sentence.words] + alone)


def _number(text: str, request: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UsageError(f"{request!r} for a word: give the word, a colon and a number, as in stripes:1.5")
    return number
