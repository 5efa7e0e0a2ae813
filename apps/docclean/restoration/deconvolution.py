"""Deconvolves blurred pages: what the blur left of the letters is taken from the page, the rest from the network.

The restoration of the network is changed as little as possible so that, blurred like the page, it gives the page: a
letter that the page contradicts does not stay. This is the data step of plug-and-play restoration (Zhang et al. 2021,
DPIR, arXiv 2008.13751, eq. 6), with total variation against noise. Each tile of the page has a blur kernel of its own,
estimated from the page and its restoration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from fastdiff.apps.docclean.imaging import colour
from fastdiff.apps.docclean.restoration import nonblind
from fastdiff.apps.docclean.restoration.blur_kernel import mean_equations, normal_equations
from fastdiff.apps.docclean.restoration.tiling import TiledNetwork, spans

TILE, KERNELS = 512, 6  # least side of a tile in pixels, and in kernel sides
COMMON = 0.1  # weight of the mean tile in the equations of each tile: tiles with little text get the page's kernel
CONTRAST = 0.15  # of strokes with the paper of the restored page
REACH, SMALLEST, LARGEST = 2.5, 15, 201  # side of a kernel in glyph heights, and its bounds in pixels


@dataclass(frozen=True)
class Deconvolution:
    """The blur of one page: luma of the `page` and of its restoration by a network, (H, W).

    Both have the same paper. `glyph_height` is in pixels, 0 if unknown. All pages are uint8, uint16, or float32 in
    [0, 1], white = 1. All methods take pages of shape (H, W) or (H, W, C), and return the type of their last one.
    """

    page: np.ndarray
    restored: np.ndarray
    glyph_height: float

    @property
    def side(self) -> int:
        """The side of the kernels in pixels, odd."""
        return 2 * round(min(max(REACH * self.glyph_height, SMALLEST), LARGEST) / 2) + 1

    @property
    def kernel(self) -> np.ndarray:
        """The kernel of the whole page, (side, side), of sum 1."""
        return self._kernels[0]

    def data_consistent(self, page: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """Return the image nearest to the restoration that the kernels blur to the page."""
        return self._tiled(nonblind.consistent, page, restored)

    def reblurred(self, sharp: np.ndarray) -> np.ndarray:
        """Return a sharp page as the blur of this page shows it."""
        return self._tiled(lambda page, kernel, _: cv2.filter2D(page, -1, np.flip(kernel)), sharp)

    def wiener(self, pixels: np.ndarray) -> np.ndarray:
        """Return a page sharpened by Wiener filters, which are linear but for clipping.

        It may be another version of the page, such as the one with colours.
        """
        return self._tiled(nonblind.wiener, pixels)

    def _tiled(self, method: Callable[..., np.ndarray], *pages: np.ndarray) -> np.ndarray:
        """Apply `method(*tiles, kernel, noise variance)` to the tiles of pages of one shape, channel by channel."""
        if pages[0].ndim == 3:
            channels = range(pages[0].shape[2])
            return np.stack([self._tiled(method, *(page[..., each] for page in pages)) for each in channels], -1)
        blurs = zip(self._kernels[1], self._variances, strict=True)

        def tile(*cut: torch.Tensor) -> torch.Tensor:
            made = method(*(colour.normalize(each[0, 0].numpy()) for each in cut), *next(blurs))
            return torch.from_numpy(made)[None, None]

        given = (torch.from_numpy(np.ascontiguousarray(page))[None, None] for page in pages)
        whole = TiledNetwork(tile, *self._tiles, batch=1)(*given)[0, 0].numpy()
        return colour.quantize(whole, pages[-1].dtype)

    @cached_property
    def _kernels(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """The kernel of the whole page, and that of each tile. Their equations take far more memory: they go."""
        equations = [
            normal_equations(colour.normalize(self.page[at]), colour.normalize(self.restored[at]), self.side)
            for at in self._places
        ]
        common = mean_equations(equations)
        whole = common.solve()
        return whole, [each.plus(common, COMMON).solve(whole) for each in equations]

    @cached_property
    def _variances(self) -> list[float]:
        """The variance of the noise of each tile: on paper that was dark it is larger. Tiles without empty paper have
        the median of the others.
        """
        white = 1 if np.issubdtype(self.restored.dtype, np.floating) else np.iinfo(self.restored.dtype).max
        strokes = self.restored < np.median(self.restored) - CONTRAST * white
        empty = cv2.dilate(strokes.astype(np.uint8), np.ones((self.side, self.side), np.uint8)) == 0
        measured = [nonblind.noise_variance(colour.normalize(self.page[at]), empty[at]) for at in self._places]
        common = float(np.median([each for each in measured if each is not None] or [1.0]))
        return [common if each is None else each for each in measured]

    @property
    def _places(self) -> list[tuple[slice, slice]]:
        """The places of the tiles on the page, in the order of `TiledNetwork`."""
        rows, columns = (spans(length, *self._tiles) for length in self.page.shape)
        return [(row.target, column.target) for row in rows for column in columns]

    @property
    def _tiles(self) -> tuple[int, int]:
        """The side of the tiles and their overlap, in pixels."""
        return max(TILE, KERNELS * self.side), 2 * self.side
