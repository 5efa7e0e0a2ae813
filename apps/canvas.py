"""Fits pictures of any size to the size of a model, and restores the details that the model loses.

The codec of a model loses details, and shrinking a large picture loses more. Both losses are the residual: the picture
minus its round trip. The residual is added where nothing was edited: an edit that changes nothing returns the very same
pixels.
"""

from dataclasses import dataclass
from math import sqrt

import torch.nn.functional as F
from torch import Tensor

from fastdiff.solvers.errors import UsageError

NEAR = 1.15  # a picture whose sides are off by less keeps its own size
LEAST_SIDE = 16  # pixels
MOST_ASPECT = 4.0  # of the longer to the shorter side

# Root mean square change of a latent (about unit variance): below the first it counts as untouched, above the second as
# edited. Measured on the benchmark of edits: rounding stays below 1e-3, edits are above 0.5.
UNTOUCHED, EDITED = 0.1, 0.4


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
        """Upsample a share per latent (B, 1, h', w') to the picture's size (B, 1, H, W).

        The result is 0 and 1 where all neighbours are.
        """
        height, width = (side + -side % self.size_multiple for side in self.scaled)
        spread = F.interpolate(share, (height, width), mode="bilinear", align_corners=False)
        return F.interpolate(spread[..., : self.scaled[0], : self.scaled[1]], self.original.shape[-2:], mode="bilinear")

    def add_residual(self, edited: Tensor, reconstruction: Tensor, share: Tensor) -> Tensor:
        """Return edited pictures (B, 3, H, W) in [-1, 1] with the residual added where `share` is 0.

        `edited` and `reconstruction` are decoded on the canvas: the edits (B, 3, h, w) and the unedited picture (1, 3,
        h, w). `share` (B, 1, h', w') is the edited share of every latent, in [0, 1].
        """
        kept, edited, reconstruction = (
            1 - self.upsample(share),
            self.to_picture(edited),
            self.to_picture(reconstruction),
        )
        return (edited + kept * (self.original - reconstruction)).clamp(-1, 1)


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


def edited_share(before: Tensor, after: Tensor) -> Tensor:
    """Return the edited share of every latent, (B, 1, h, w) in [0, 1], by its change against latents (1, C, h, w).

    A latent counts as much as the most edited of its neighbours, since codecs reach across them.
    """
    change = (after - before).square().mean(1, keepdim=True).sqrt()
    return F.max_pool2d(((change - UNTOUCHED) / (EDITED - UNTOUCHED)).clamp(0, 1), 3, stride=1, padding=1)


def _resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    return F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
