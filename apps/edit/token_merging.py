"""Token merging by bipartite soft matching (Bolya and Hoffman 2023, arXiv 2303.17604): shorter self-attention.

DiT4Edit (Feng et al. 2024, arXiv 2411.03286) calls it patches merging. One token of every 2x2 cell is a destination.
The other tokens most similar to a destination are averaged into it, and afterwards receive a copy of its output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastdiff.solvers.errors import UsageError

HIGHEST = 0.75  # three tokens of every cell


@dataclass(frozen=True)
class Matching:
    """An assignment of N tokens to n <= N places."""

    place: Tensor  # (N,) of every token, in [0, n)
    size: Tensor  # (n,) tokens in every place, as float


def destinations(rows: int, columns: int, seed: int) -> Tensor:
    """Draw one token of every whole 2x2 cell of the grid: row-major positions, (rows // 2 * columns // 2,).

    Raises UsageError for a grid without a whole cell.
    """
    if min(rows, columns) < 2:
        raise UsageError(f"a grid of {rows} x {columns} tokens cannot be merged: give 2 x 2 or more")
    down, across = rows // 2, columns // 2
    corner = torch.randint(4, (down, across), generator=torch.Generator().manual_seed(seed))
    row, column = 2 * torch.arange(down)[:, None] + corner // 2, 2 * torch.arange(across) + corner % 2
    return (row * columns + column).flatten()


def match(tokens: Tensor, destinations: Tensor, ratio: float) -> Matching:
    """Match the floor(ratio * N) of the tokens (N, D) with the highest cosine similarity to a destination.

    At most all other tokens are merged. Equal tokens, destinations and ratio give an equal matching.

    Raises UsageError for a ratio outside [0, 0.75].
    """
    if not 0 <= ratio <= HIGHEST:
        raise UsageError(f"merging {ratio} of the tokens: give 0 to {HIGHEST}")
    everyone = torch.arange(len(tokens))
    others = torch.isin(everyone, destinations).int().argsort(stable=True)[: len(tokens) - len(destinations)]
    everyone, others, destinations = (each.to(tokens.device) for each in (everyone, others, destinations))
    units = normalize(tokens.float(), dim=-1, eps=1e-6)
    score, nearest = (units[others] @ units[destinations].T).max(dim=1)
    merged = score.topk(min(int(ratio * len(tokens)), len(others))).indices
    keeper = everyone.scatter(0, others[merged], destinations[nearest[merged]])
    place = (keeper == everyone).cumsum(0).sub(1)[keeper]
    ones = torch.ones(len(tokens), device=tokens.device)
    size = ones.new_zeros(len(tokens) - len(merged)).index_add(0, place, ones)
    return Matching(place, size)


def merge(tokens: Tensor, matching: Matching) -> Tensor:
    """Average the tokens of every place: (B, N, D) to (B, n, D)."""
    empty = tokens.new_zeros(len(tokens), len(matching.size), tokens.shape[-1])
    return empty.index_add(1, matching.place, tokens) / matching.size[:, None].to(tokens.dtype)


def unmerge(places: Tensor, matching: Matching) -> Tensor:
    """Copy every place to its tokens: (B, n, D) to (B, N, D)."""
    return places[:, matching.place]
