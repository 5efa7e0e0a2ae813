"""Keeps the background of a scene in which another emoji takes the place of the old one.

A codec blurs what it gives back, and a model draws patterns anew. Away from both emoji the picture keeps its pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.apps.edit.domain import levels
from fastdiff.apps.edit.shape import SIDE, EmojiShapes
from fastdiff.apps.edit.subject import dilated, find_emoji

NEAR = 7  # pixels of a scene around both emoji that the edit shows
SOFT = 2.0  # pixels of a scene: standard deviation of the Gaussian that softens the border
NEW = 14.0  # dB of the new emoji, from which on its place is trusted


@dataclass(frozen=True)
class KeptBackground:
    """A picture (1, 3, H, W) in [-1, 1] whose background stays: the opacity (H, W) of its emoji, and the wished one."""

    original: Tensor
    old: np.ndarray
    new: str
    shapes: EmojiShapes

    def behind(self, edited: Tensor) -> Tensor:
        """Return the edited picture (1, 3, H, W) with the original's pixels away from both emoji.

        Where the new one is not found, the edited picture returns as it is.
        """
        found = self.shapes.fit(levels(edited), self.new)
        if found.psnr < NEW:
            return edited
        side = self.original.shape[-1]
        new, scale = self.shapes.emoji(self.new, found.pose, side=side)[..., 3], side / (2 * SIDE)
        near = dilated(np.maximum(self.old, new), round(NEAR * scale)).clip(0, 1)
        soft = torch.from_numpy(cv2.GaussianBlur(near, (0, 0), SOFT * scale)).to(edited)
        return torch.lerp(self.original, edited, soft)


def find_background(original: Tensor, swap: tuple[str, str], shapes: EmojiShapes) -> KeptBackground | None:
    """Find the background of a picture in which the second emoji of a swap takes the place of the first.

    None if the first one is not found, or the picture is no square.
    """
    old = find_emoji(original, swap[0], shapes)
    return None if old is None else KeptBackground(original, old[..., 3], swap[1], shapes)
