"""Fewer tokens, and all of them back."""

import pytest
import torch
from tiny_transformer import randoms, tiny
from torch import Tensor

from fastdiff.apps.edit.token_merging import Matching, destinations, match, merge, unmerge
from fastdiff.solvers.errors import UsageError

GRIDS = [(4, 4), (5, 7), (2, 9)]


def test_destinations_are_drawn_one_a_cell() -> None:
    drawn = destinations(5, 7, seed=3)
    cells = {(int(at) // 7 // 2, int(at) % 7 // 2) for at in drawn}
    assert cells == {(row, column) for row in range(2) for column in range(3)} and len(drawn) == 6
    assert torch.equal(drawn, destinations(5, 7, seed=3))
    assert len({tuple(destinations(5, 7, seed).tolist()) for seed in range(8)}) > 4


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_token_comes_back_as_the_mean_of_its_place(grid: tuple[int, int], ratio: float) -> None:
    count = grid[0] * grid[1]
    tokens, kept = randoms(count, 5), destinations(*grid, seed=0)
    matching = match(tokens, kept, ratio)
    rows = randoms(2, count, 3, seed=1)
    places = merge(rows, matching)
    assert places.shape[1] == len(matching.size) == max(count - int(ratio * count), len(kept))
    again = unmerge(places, matching)
    for token in range(count):
        group = matching.place == matching.place[token]
        assert group.sum() == matching.size[matching.place[token]] and (group[kept].sum() == 1 or group.sum() == 1)
        torch.testing.assert_close(again[:, token], rows[:, group].mean(1))
        if group.sum() == 1:
            assert torch.equal(again[:, token], rows[:, token])
    torch.testing.assert_close(unmerge(merge(again, matching), matching), again)
    torch.testing.assert_close(again.mean(1), rows.mean(1))


@pytest.mark.parametrize("grid", GRIDS)
def test_ratio_nought_changes_no_bit(grid: tuple[int, int]) -> None:
    tokens = randoms(1, grid[0] * grid[1], 5)
    nothing = match(tokens[0], destinations(*grid, seed=0), 0)
    assert torch.equal(merge(tokens, nothing), tokens) and torch.equal(unmerge(tokens, nothing), tokens)


def test_the_most_alike_merge_first_each_into_its_nearest() -> None:
    tokens = torch.tensor([[1.0, 0], [0, 1], [0.9, 0.1], [0.5, 0.5], [2, 0.01], [0.1, 3], [1, -1], [1, 1]])
    kept = torch.tensor([0, 1])  # cosines of the others to their nearest: 0.994, 0.707, 0.99999, 0.999, 0.707, 0.707
    place = match(tokens, kept, 3 / 8).place
    assert place[4] == place[2] == place[0] and place[5] == place[1]
    assert len(set(place[[0, 1, 3, 6, 7]].tolist())) == 5


def test_a_picture_of_doubled_tokens_attends_as_the_picture_itself() -> None:
    """Every place holds four equal tokens, so nothing is lost."""
    attention = tiny(1).get_submodule("transformer_blocks.0.attn1")
    small = randoms(2, 9, 16)

    def doubled(tokens: Tensor) -> Tensor:
        grid = tokens.unflatten(1, (3, 3))
        return grid.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)

    large = doubled(small)
    matching = match(large[0], destinations(6, 6, seed=1), 0.75)
    assert len(matching.size) == 9
    attended = unmerge(attention(merge(large, matching)), matching)
    torch.testing.assert_close(attended, attention(large), rtol=0, atol=1e-6)
    torch.testing.assert_close(attended, doubled(attention(small)), rtol=0, atol=1e-6)


def test_tokens_without_a_direction_stay_finite_in_half_precision() -> None:
    matching = match(torch.zeros(16, 4, dtype=torch.float16), destinations(4, 4, seed=0), 0.5)
    assert isinstance(matching, Matching) and torch.isfinite(merge(randoms(1, 16, 4).half(), matching)).all()


@pytest.mark.parametrize("ratio", [-0.1, 0.8, float("nan")])
def test_a_ratio_that_cannot_be_is_one_sentence(ratio: float) -> None:
    with pytest.raises(UsageError, match=r"0 to 0\.75"):
        match(randoms(16, 4), destinations(4, 4, seed=0), ratio)


def test_a_grid_without_a_cell_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="2 x 2"):
        destinations(1, 8, seed=0)
