"""Fits pictures of any size to the size of a model, and restores the details that the model loses.

The codec of a model loses details, and shrinking a large picture loses more. Both losses are the residual: the picture
minus its round trip. It is added where nothing was edited, so that an edit that changes nothing returns the very
pixels, and stays out of what was edited.
"""

from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.solvers.errors import UsageError

NEAR = 1.15  # a picture whose sides are off by less keeps its own size
LEAST_SIDE = 16  # pixels
MOST_ASPECT = 4.0  # of the longer to the shorter side

# Change of a decoded pixel, in levels of 255: below the first it counts as untouched, from the second on as edited.
# Rounding stays below 0.5, and what the bundled model changes in backgrounds that should stay is mostly below 4.
UNTOUCHED, EDITED = 4.0, 12.0
ROUNDING = 0.01  # root mean square change of a latent (about unit variance) below which it is taken for rounding
REACH = 9  # pixels, of the square around an edited pixel that counts as edited too; holes of that size are filled
SOFTNESS = 5  # pixels, of the square over which the share is averaged, so that it has no steps


@dataclass(frozen=True)
class Canvas:
    """Pictures at the model's size: scaled to `scaled`, then padded at the right and the bottom."""

    original: Tensor  # (B, 3, H, W) in [-1, 1]
    scaled: tuple[int, int]  # height and width, pixels
    size_multiple: int  # the sides of the canvas are multiples of it

    @property
    def picture(self) -> Tensor:
        """The model's input, (B, 3, h, w) in [-1, 1]."""
        return self.to_canvas(self.original).clamp(-1, 1)

    def to_canvas(self, picture: Tensor) -> Tensor:
        """Scale from the picture's size (B, C, H, W) to the canvas (B, C, h, w)."""
        down, right = (-side % self.size_multiple for side in self.scaled)
        return F.pad(_resized(picture, self.scaled), (0, right, 0, down), mode="replicate")

    def to_picture(self, picture: Tensor) -> Tensor:
        """Scale from the canvas (B, C, h, w) to the picture's size (B, C, H, W)."""
        height, width = self.scaled
        return _resized(picture[..., :height, :width], tuple(self.original.shape[-2:]))

    def upsample(self, share: Tensor) -> Tensor:
        """Upsample a share on the canvas (B, 1, h, w) to the picture's size (B, 1, H, W).

        The result is 0 and 1 where all neighbours are.
        """
        share = share[..., : self.scaled[0], : self.scaled[1]]
        return F.interpolate(share, self.original.shape[-2:], mode="bilinear")

    def restore_unedited(self, edited: Tensor, share: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) in [-1, 1]: the original where `share` is 0, the edit where it is 1.

        `edited` (B, 3, h, w) are edits, and `share` (B, 1, h, w) in [0, 1] the edited share of every pixel, both on the
        canvas.
        """
        return torch.lerp(self.original, self.to_picture(edited).clamp(-1, 1), self.upsample(share))


def fit_canvas(original: Tensor, resolution: int, size_multiple: int) -> Canvas:
    """Fit pictures (B, 3, H, W) to a model of pictures with about resolution^2 pixels.

    Raises UsageError for slivers and pictures that are too small.
    """
    height, width = original.shape[-2:]
    if min(height, width) < LEAST_SIDE or max(height, width) > MOST_ASPECT * min(height, width):
        raise UsageError(
            f"a picture of {width} x {height} pixels: sides from {LEAST_SIDE}, at most {MOST_ASPECT:g} to 1"
        )
    scale = resolution / sqrt(height * width)
    if 1 / NEAR < scale < NEAR:
        scale = 1.0
    return Canvas(original, (max(1, round(scale * height)), max(1, round(scale * width))), size_multiple)


def without_rounding(before: Tensor, after: Tensor) -> Tensor:
    """Return latents (B, C, h, w) with those of `before` (1, C, h, w) in place of what differs by rounding alone."""
    change = (after - before).square().mean(1, keepdim=True).sqrt()
    return torch.where(change < ROUNDING, before, after)


def edited_share(before: Tensor, after: Tensor) -> Tensor:
    """Return the edited share of every pixel, (B, 1, h, w) in [0, 1], by its change against colours (1, 3, h, w).

    `before` and `after`, in [-1, 1], come from one codec: latents that did not change decode to the same colours. A
    pixel counts as much as the most edited one in its neighbourhood, and so do the holes between edited pixels.
    """
    change = 127.5 * (after.clamp(-1, 1) - before.clamp(-1, 1)).abs().amax(1, keepdim=True)
    share = ((change - UNTOUCHED) / (EDITED - UNTOUCHED)).clamp(0, 1)
    closed = -_dilated(-_dilated(_dilated(share)))
    return F.avg_pool2d(closed, SOFTNESS, stride=1, padding=SOFTNESS // 2, count_include_pad=False)


def _dilated(share: Tensor) -> Tensor:
    return F.max_pool2d(share, REACH, stride=1, padding=REACH // 2)


def _resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    return F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
