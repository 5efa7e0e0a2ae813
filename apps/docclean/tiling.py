"""Networks of fixed patch size on pages of any size: overlapping tiles, blended by windows that add up to one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Where a tile lies along one axis, and its share of every pixel there."""

    start: int
    share: Tensor  # (tile,) in [0, 1]


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Tiles that cover `length` >= `tile` pixels, the last one flush with the end; the shares of a pixel sum to 1."""
    count = 1 + -(-(length - tile) // (tile - overlap))
    starts = torch.linspace(0, length - tile, count).round().int().tolist()
    ramp = (torch.arange(tile) + 0.5) / overlap
    window = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    total = torch.zeros(length)
    for start in starts:
        total[start : start + tile] += window
    return [Span(start, window / total[start : start + tile]) for start in starts]


@dataclass(frozen=True)
class Tiled:
    """A network on page-sized tensors, called as the network is.

    Every call cuts its page-sized arguments (1, C, H, W) into tiles, so a solver around it synchronises the tiles at
    every step (Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113). Other arguments, (1,) labels, go to every tile.
    """

    net: Callable[..., Tensor]
    tile: int = 256  # pixels a side
    overlap: int = 32  # pixels that neighbours share
    batch: int = 4  # tiles a call: bounds the memory of activations

    def __call__(self, page: Tensor, *args: Tensor, **given: Tensor) -> Tensor:
        height, width = page.shape[-2:]
        right, bottom = max(self.tile - width, 0), max(self.tile - height, 0)
        pad = lambda x: F.pad(x, (0, right, 0, bottom), mode="replicate") if x.dim() == 4 else x  # noqa: E731
        page, args, given = pad(page), [pad(x) for x in args], {name: pad(x) for name, x in given.items()}
        rows, columns = (spans(length, self.tile, self.overlap) for length in page.shape[-2:])
        places = [(row, column) for row in rows for column in columns]
        out = torch.zeros_like(page)
        for first in range(0, len(places), self.batch):
            some = places[first : first + self.batch]
            cut = lambda x: self._tiles(x, some) if x.dim() == 4 else x.expand(len(some))  # noqa: E731, B023
            done = self.net(cut(page), *map(cut, args), **{name: cut(x) for name, x in given.items()})
            for (row, column), patch in zip(some, done, strict=True):
                share = (row.share[:, None] * column.share).to(out)
                target = out[0, :, row.start : row.start + self.tile, column.start : column.start + self.tile]
                target += patch.to(out.dtype) * share
        return out[..., :height, :width]

    def _tiles(self, page: Tensor, places: list[tuple[Span, Span]]) -> Tensor:
        return torch.cat(
            [page[..., r.start : r.start + self.tile, c.start : c.start + self.tile] for r, c in places]
        )
