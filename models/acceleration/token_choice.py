"""The tokens that a partial call computes: the least stable ones, and one in each of some windows of the grid."""

from math import ceil, inf, isqrt

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fastdiff.solvers.errors import UsageError

WINDOW = 3  # tokens of a side


def on_tokens(maps: Tensor, count: int) -> Tensor:
    """Return the means (B, H, W) of maps (B, h, w) over the patches of a grid of `count` tokens.

    Raises UsageError unless square patches of one size give this count.
    """
    height, width = maps.shape[-2:]
    patch = isqrt(height * width // count)
    if patch * patch * count != height * width or height % patch or width % patch:
        raise UsageError(f"{count} tokens of a state of {height} x {width}: tokens must be square patches")
    pooled: Tensor = avg_pool2d(maps, patch)
    return pooled


def chosen_tokens(stability: Tensor, count: int, step: int) -> Tensor:
    """Return the indices (B, count), rising, of tokens of a grid whose stability is (B, H, W).

    Half of them at most are drawn, the same in all items and at every run, one in a window of WINDOW x WINDOW tokens.
    The others are the least stable ones of the item.
    """
    _, height, width = stability.shape
    drawn = torch.tensor(_drawn(height, width, step)[: count // 2], dtype=torch.long, device=stability.device)
    order = stability.flatten(1).index_fill(1, drawn, -inf).argsort(dim=1, stable=True)
    return order[:, :count].sort(1).values


def take_tokens(x: Tensor, tokens: Tensor | None) -> Tensor:
    """Return these tokens (R, K) of x (R, N, D), all of them for None."""
    return x if tokens is None else x.gather(1, tokens[..., None].expand(-1, -1, x.shape[2]))


def put_tokens(x: Tensor, tokens: Tensor | None, values: Tensor) -> Tensor:
    """Return x (R, N, D) with these tokens (R, K), all of them for None, replaced by values (R, K, D)."""
    return values if tokens is None else x.scatter(1, tokens[..., None].expand_as(values), values)


def _drawn(height: int, width: int, step: int) -> list[int]:
    """Return a token of every window in an order, both drawn by the number of the step."""
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(step))
    window = order // width // WINDOW * ceil(width / WINDOW) + order % width // WINDOW
    return list(dict(zip(window.tolist(), order.tolist(), strict=True)).values())
