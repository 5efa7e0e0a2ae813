"""Words of two prompts that belong together."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings, strategies as st

from fastdiff.apps.edit.words import Sentence, align, by_word, changed, find, named, refine, replace
from fastdiff.models.diffusion_model import Word
from fastdiff.solvers.errors import UsageError

END = 1


def sentence(*words: tuple[str, int]) -> Sentence:
    """Words with their numbers of tokens, and an end token; a token's id tells its word and its place in that."""
    told, ids = list[Word](), list[int]()
    for text, count in words:
        told.append(Word(text, tuple(range(len(ids), len(ids) + count))))
        ids += [hash((text, piece)) for piece in range(count)]
    return Sentence((*ids, END), tuple(told))


def pairs(matrix: torch.Tensor) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in matrix.nonzero().tolist()]


@pytest.mark.parametrize(
    ("source", "target", "together"),
    [
        ([7, 8, 9, 1], [7, 5, 8, 9, 1], [(0, 0), (1, 2), (2, 3), (3, 4)]),  # 5 was added
        ([7, 5, 8, 1], [7, 8, 1], [(0, 0), (2, 1), (3, 2)]),  # 5 was left out
        ([7, 5, 8, 1], [7, 6, 8, 1], [(0, 0), (2, 2), (3, 3)]),  # 5 became 6
        ([1], [4, 5, 1], [(0, 2)]),  # from nothing
        ([], [4], []),
    ],
)
def test_refine_pairs_equal_tokens_in_order(
    source: list[int], target: list[int], together: list[tuple[int, int]]
) -> None:
    matrix = refine(source, target, 8)
    assert pairs(matrix) == together and matrix.shape == (8, 8) and matrix.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=7), st.lists(st.integers(0, 3), max_size=7))
def test_refine_finds_as_many_pairs_as_there_are(source: list[int], target: list[int]) -> None:
    @cache
    def longest(i: int, j: int) -> int:
        if min(i, j) == 0:
            return 0
        if source[i - 1] == target[j - 1]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    together = pairs(refine(source, target, 8))
    assert len(together) == longest(len(source), len(target))
    assert all(source[i] == target[j] for i, j in together)
    assert [j for _, j in together] == sorted({j for _, j in together})


def test_replace_gives_pieces_of_a_new_word_equal_parts_and_keeps_step_behind_it() -> None:
    source, target = sentence(("cat", 1), ("on", 1), ("red", 1)), sentence(("hedgehog", 3), ("on", 1), ("blue", 1))
    matrix = replace(source, target, 8)
    expected = torch.zeros(8, 8)
    expected[0, :3] = 1 / 3
    expected[1, 3] = expected[2, 4] = expected[3, 5] = 1  # the last is the end token
    assert torch.equal(matrix, expected)
    assert torch.equal(replace(target, source, 8), expected.T.ceil())  # three pieces give all they have to one
    torch.testing.assert_close(matrix[:4].sum(1), torch.ones(4))


def test_replace_pairs_words_of_equal_length_token_by_token() -> None:
    source, target = sentence(("ze", 2), ("is", 1)), sentence(("an", 2), ("is", 1))
    assert pairs(replace(source, target, 6)) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_the_numbers_of_words_decide() -> None:
    fox, owl = sentence(("fox", 1), ("on", 1)), sentence(("owl", 1), ("on", 1))
    balloon = sentence(("hot", 1), ("air", 1), ("balloon", 1), ("on", 1))
    assert pairs(align(fox, owl, 6)) == [(0, 0), (1, 1), (2, 2)]
    assert pairs(align(fox, balloon, 6)) == [(1, 3), (2, 4)]
    with pytest.raises(UsageError, match="3 and 5 words"):
        replace(fox, balloon, 6)


DOGS = sentence(("dog", 1), ("and", 1), ("hot", 1), ("dog", 2)).words


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("dog", (0, 3, 4)),
        ("Dog#2", (3, 4)),
        ("hot dog", (2, 3, 4)),
        ("dog#3", ()),
        ("dog#0", ()),
        ("cat", ()),
        ("", ()),
    ],
)
def test_a_name_finds_its_tokens(name: str, tokens: tuple[int, ...]) -> None:
    assert find(DOGS, name) == tokens


def test_numbers_of_words_are_the_default_where_nobody_asks() -> None:
    assert by_word(DOGS, ["dog#1:1.5", "hot:-2"], 7, 1.0).tolist() == [1.5, 1, -2, 1, 1, 1, 1]
    assert by_word(DOGS, [], 3, 0.5).tolist() == [0.5, 0.5, 0.5]


def test_names_are_found_in_the_prompts_that_have_them() -> None:
    prompts = [(Word("fox", (0, 1)), Word("on", (2,))), (Word("owl", (0,)), Word("on", (1,)))]
    assert named(prompts, ["fox", "owl"], 4).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(UsageError, match=r"no word 'cat'.*fox, on, owl, on"):
        named(prompts, ["cat"], 4)


def test_what_changes_are_the_words_that_one_of_two_prompts_has() -> None:
    fox, owl = sentence(("fox", 2), ("on", 1), ("red", 1)), sentence(("owl", 1), ("on", 1), ("pale", 1), ("red", 1))
    assert changed(fox, owl, 7).tolist() == [[1, 1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0]]
    assert not changed(fox, fox, 7).any()
    assert changed(Sentence((END,), ()), owl, 6).tolist() == [[0] * 6, [1, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("cat:2", "no word 'cat'.*dog, and, hot, dog"),
        ("dog", "as in stripes:1.5"),
        ("dog:much", "stripes:1.5"),
        ("dog:inf", "number"),
    ],
)
def test_a_number_that_means_nothing_is_one_sentence(request_: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        by_word(DOGS, [request_], 7, 1.0)
