"""Runs networks of fixed patch size on pages of any size: overlapping tiles, blended by windows that sum to one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """The place of a tile along one axis, and its share of every pixel there."""

    source: Tensor  # (tile,) pixels of the page; beyond the edge of the page, the edge repeats
    share: Tensor  # (tile,) in [0, 1]
    inside: slice  # of the tile: its part on the page
    target: slice  # of the page: the same part


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Return the tiles over a page of `length` pixels and half an overlap beyond its ends; the shares of a pixel sum to
    1.

    Networks pad their convolutions with black: the margin keeps this off the page.
    """
    margin = overlap // 2
    covered = max(length + 2 * margin, tile)
    count = 1 + -(-(covered - tile) // (tile - overlap))
    starts = torch.linspace(0, covered - tile, count).round().int().tolist()
    ramp = (torch.arange(tile) + 0.5) / overlap
    window = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    total = torch.zeros(covered)
    for start in starts:
        total[start : start + tile] += window
    return [_span(start - margin, length, window / total[start : start + tile]) for start in starts]


def _span(start: int, length: int, share: Tensor) -> Span:
    places = torch.arange(start, start + len(share))
    first, last = max(start, 0), min(start + len(share), length)
    return Span(places.clamp(0, length - 1), share, slice(first - start, last - start), slice(first, last))


@dataclass(frozen=True)
class TiledNetwork:
    """A network on page-sized tensors, called as the network is.

    Every call cuts its page-sized arguments (1, C, H, W) into tiles: a solver around it synchronises the tiles at every
    step (Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113). Other arguments, timesteps (1,), go to every tile.
    Pages of integers give pages of float32.
    """

    net: Callable[..., Tensor]
    tile: int = 256  # pixels a side
    overlap: int = 32  # pixels that neighbours share
    batch: int = 4  # tiles per call: bounds the memory of activations

    def __call__(self, page: Tensor, *args: Tensor) -> Tensor:
        rows, columns = (spans(length, self.tile, self.overlap) for length in page.shape[-2:])
        places = [(row, column) for row in rows for column in columns]
        out = torch.zeros_like(page, dtype=page.dtype if page.is_floating_point() else torch.float32)
        for first in range(0, len(places), self.batch):
            some = places[first : first + self.batch]
            done = self.net(*(_cut(argument, some) for argument in (page, *args)))
            for (row, column), patch in zip(some, done, strict=True):
                shared = patch.to(out) * (row.share[:, None] * column.share).to(out)
                out[0, :, row.target, column.target] += shared[:, row.inside, column.inside]
        return out


def _cut(argument: Tensor, places: list[tuple[Span, Span]]) -> Tensor:
    """Return the tiles of a page (B, C, tile, tile), or a timestep for each (B,)."""
    if argument.dim() != 4:
        return argument.expand(len(places))
    return torch.cat([argument[..., row.source[:, None], column.source] for row, column in places])
