"""Deconvolves blurred pages: what the blur left of the letters is taken from the page, the rest from the network.

The blur kernel is estimated for each tile of the page. The restoration of the network is then changed as little as
possible so that, blurred by that kernel, it gives the page: a letter that the page contradicts does not stay. This is
the data step of plug-and-play restoration (Zhang et al. 2021, DPIR, arXiv 2008.13751, eq. 6), with total variation
against noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from scipy import fft

from fastdiff.apps.docclean.restoration.blur_kernel import NormalEquations, mean_equations, normal_equations
from fastdiff.apps.docclean.restoration.tiling import TiledNetwork, spans

# With noise of NOISE (standard deviation, white = 1) these weights are best by PSNR on 16 crops of blurred pages; all
# grow with the variance of the noise.
NOISE = 3 / 255
PRIOR = 0.003  # weight of the squared distance to the network's restoration
TV = 0.0005  # weight of total variation
SMOOTH = 0.001  # weight of the squared gradient in the Wiener filter, and
RIDGE = 0.003  # of the squared value
CLIPPED = 1.5  # noise on white paper is clipped, and measures less by this factor
NOISIEST = 10.0  # times NOISE: more is no noise
COUPLING = 0.05  # of the alternating direction method of multipliers
STEPS = 10
TILE, KERNELS = 512, 6  # least side of a tile in pixels, and in kernel sides
COMMON = 0.1  # weight of the mean tile in the equations of each tile: tiles with little text get the page's kernel
REACH, SMALLEST, LARGEST = 2.5, 15, 201  # side of a kernel in glyph heights, and its bounds in pixels


@dataclass(frozen=True)
class Deconvolution:
    """The blur of one page: luma of the `page` and of its restoration by a network, float32 (H, W) in [0, 1].

    Both have the same paper. `glyph_height` is in pixels, 0 if unknown.
    """

    page: np.ndarray
    restored: np.ndarray
    glyph_height: float

    @property
    def side(self) -> int:
        """The side of the kernels in pixels, odd."""
        return 2 * round(np.clip(REACH * self.glyph_height, SMALLEST, LARGEST) / 2) + 1

    @cached_property
    def kernel(self) -> np.ndarray:
        """The kernel of the whole page, (side, side), of sum 1."""
        return mean_equations(self._equations).solve()

    @cached_property
    def variance(self) -> float:
        """The variance of the noise of the page, relative to that of NOISE."""
        return (noise(self.page) / NOISE) ** 2

    def data_consistent(self, page: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """Return the image nearest to the restoration that the kernels blur to the page: float32 in [0, 1], all (H, W)
        or (H, W, C).
        """
        return self._each_channel(consistent, page, restored)

    def reblurred(self, sharp: np.ndarray) -> np.ndarray:
        """Return a sharp page, float32 (H, W) or (H, W, C), as the blur of this page shows it."""
        return self._each_channel(lambda page, kernel, _: cv2.filter2D(page, -1, np.flip(kernel)), sharp)

    def wiener(self, pixels: np.ndarray) -> np.ndarray:
        """Return a page, uint8 or uint16, (H, W) or (H, W, C), sharpened by Wiener filters: linear, but for clipping.

        It may be another version of the page, such as the one with colours.
        """
        white = np.iinfo(pixels.dtype).max
        sharp = self._each_channel(wiener, np.float32(pixels) / white)
        return np.rint(sharp * white).astype(pixels.dtype)

    def _each_channel(self, method: Callable[..., np.ndarray], *pages: np.ndarray) -> np.ndarray:
        """Apply `method(*tiles, kernel, variance)` to the tiles of pages of one shape, channel by channel."""
        made = []
        for channel in zip(*(np.moveaxis(np.atleast_3d(page), 2, 0) for page in pages), strict=True):
            kernels = iter(self._kernels)

            def tile(*cut: torch.Tensor) -> torch.Tensor:
                given = (each[0, 0].numpy() for each in cut)
                return torch.from_numpy(method(*given, next(kernels), self.variance))[None, None]  # noqa: B023

            network = TiledNetwork(tile, *self._tiles, batch=1)
            made.append(network(*(torch.from_numpy(np.ascontiguousarray(each))[None, None] for each in channel)))
        return torch.cat(made, 1)[0].movedim(0, 2).numpy().reshape(pages[0].shape)

    @cached_property
    def _kernels(self) -> list[np.ndarray]:
        """The kernel of each tile, in the order of `TiledNetwork`."""
        common = mean_equations(self._equations)
        return [each.plus(common, COMMON).solve(self.kernel) for each in self._equations]

    @cached_property
    def _equations(self) -> list[NormalEquations]:
        """The equations of each tile."""
        rows, columns = (spans(length, *self._tiles) for length in self.page.shape)
        places = [(row.target, column.target) for row in rows for column in columns]
        return [normal_equations(self.page[at], self.restored[at], self.side) for at in places]

    @property
    def _tiles(self) -> tuple[int, int]:
        """The side of the tiles and their overlap, in pixels."""
        return max(TILE, KERNELS * self.side), 2 * self.side


def noise(page: np.ndarray) -> float:
    """Return the standard deviation of a page's noise, at least NOISE (Immerkaer 1996): page float32 (H, W), white = 1."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    deviation = float(np.median(np.abs(cv2.filter2D(page, -1, mask)))) / 0.6745 / 6
    return float(np.clip(CLIPPED * deviation, NOISE, NOISIEST * NOISE))


def consistent(page: np.ndarray, restored: np.ndarray, kernel: np.ndarray, variance: float = 1.0) -> np.ndarray:
    """Return the image x in [0, 1] that minimises |k * x - page|^2 / 2 + PRIOR |x - restored|^2 / 2 + TV(x).

    All are float32 (h, w); PRIOR and TV are multiplied by `variance`. By the alternating direction method of
    multipliers, with anisotropic total variation.
    """
    pad = len(kernel)
    given, prior = _padded(page, pad), fft.rfft2(_padded(restored, pad))
    shape = given.shape
    blur, (down, right) = _transfer(kernel, shape), _gradients(shape)
    target = np.conj(blur) * fft.rfft2(given) + PRIOR * variance * prior
    data = np.abs(blur) ** 2 + PRIOR * variance
    total = data + COUPLING * (np.abs(down) ** 2 + np.abs(right) ** 2 + 1)
    least = TV * variance / COUPLING
    x = fft.irfft2(target / data, s=shape)
    duals = np.zeros((3, *shape), np.float32)
    for _ in range(STEPS):
        split = np.stack([x - np.roll(x, 1, 0), x - np.roll(x, 1, 1), x]) + duals
        kept = np.concatenate([np.sign(split[:2]) * np.maximum(np.abs(split[:2]) - least, 0), np.clip(split[2:], 0, 1)])
        duals = split - kept
        dy, dx, inside = kept - duals
        pulled = dy - np.roll(dy, -1, 0) + dx - np.roll(dx, -1, 1) + inside
        x = fft.irfft2((target + COUPLING * fft.rfft2(pulled)) / total, s=shape)
    return np.clip(_cropped(x, page.shape, pad), 0, 1)


def wiener(page: np.ndarray, kernel: np.ndarray, variance: float = 1.0) -> np.ndarray:
    """Return a page, float32 (h, w), after the Wiener filter of the kernel, clipped to [0, 1]."""
    pad = len(kernel)
    given = _padded(page, pad)
    blur, (down, right) = _transfer(kernel, given.shape), _gradients(given.shape)
    power = np.abs(blur) ** 2 + variance * (SMOOTH * (np.abs(down) ** 2 + np.abs(right) ** 2) + RIDGE)
    x = fft.irfft2(np.conj(blur) * fft.rfft2(given) / power, s=given.shape) * (1 + RIDGE * variance)  # keeps the paper
    return np.clip(_cropped(x, page.shape, pad), 0, 1)


def _padded(page: np.ndarray, pad: int) -> np.ndarray:
    """Return the page with mirrored margins of at least `pad`, of a size whose transform is fast."""
    extra = [fft.next_fast_len(length + 2 * pad, real=True) - length - pad for length in page.shape]
    return np.pad(page, ((pad, extra[0]), (pad, extra[1])), mode="symmetric").astype(np.float32)


def _cropped(padded: np.ndarray, shape: tuple[int, ...], pad: int) -> np.ndarray:
    return padded[pad : pad + shape[0], pad : pad + shape[1]]


def _transfer(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the transfer function of a kernel of odd sides."""
    point = np.zeros(shape, np.float32)
    point[: kernel.shape[0], : kernel.shape[1]] = kernel
    shift = tuple(-(side // 2) for side in kernel.shape)
    return fft.rfft2(np.roll(point, shift, (0, 1)))


def _gradients(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the transfer functions of the differences to the pixel above and to the pixel on the left."""
    down, right = np.zeros((3, 3)), np.zeros((3, 3))
    down[1, 1] = right[1, 1] = 1
    down[2, 1] = right[1, 2] = -1
    return _transfer(down, shape), _transfer(right, shape)
