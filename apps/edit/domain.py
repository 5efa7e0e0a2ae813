"""Recognises whether a picture is a scene that the bundled model can edit, and what it shows."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.similarity import psnr
from fastdiff.models.recogniser import SIDE, Reading, Recogniser

# Set on the scenes of benchmarks/edit/domain.py, of which they leave out 0.8 % and 0.3 %. Of its photographs the second
# leaves out nearly all.
LEAST_PSNR = 21.5
LEAST_FAMILIARITY = 0.9


@dataclass(frozen=True)
class Evidence:
    """The measurements that distinguish scenes from other pictures."""

    psnr: float  # dB, of a round trip through the codec of the backbone
    reading: Reading  # by the recogniser

    @property
    def against(self) -> str | None:
        """A clause that says why the picture is no scene; None for a scene."""
        if self.psnr < LEAST_PSNR:
            return f"its codec gives it back at {self.psnr:.1f} dB, scenes at {LEAST_PSNR:g} or more"
        if self.reading.familiarity < LEAST_FAMILIARITY:
            return f"it resembles '{self.reading.caption}' most, and that little"
        return None


def examine(picture: Tensor, restored: Tensor, recogniser: Recogniser) -> Evidence:
    """Measure a picture, (1, 3, H, W) in [-1, 1], that the codec reconstructs as `restored`.

    The recogniser sees the central square.
    """
    return Evidence(psnr(restored.clamp(-1, 1), picture), recogniser.read(middle(picture))[0])


def middle(picture: Tensor) -> Tensor:
    """Return the largest square in the middle at the side of the recogniser, (1, 3, SIDE, SIDE)."""
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[..., top : top + side, left : left + side]
    return square if side == SIDE else F.interpolate(square, (SIDE, SIDE), mode="bilinear", antialias=True)


def levels(picture: Tensor) -> np.ndarray:
    """Return the middle square of a picture (1, 3, H, W) in [-1, 1] as (SIDE, SIDE, 3) float32 in [0, 255]."""
    square: np.ndarray = ((middle(picture)[0].movedim(0, -1) + 1) * 127.5).clamp(0, 255).numpy()
    return square
