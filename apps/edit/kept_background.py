"""Keeps the background of a scene in which another emoji takes the place of the old one.

A codec blurs what it gives back, and a model draws patterns anew. Away from both emoji the picture keeps its pixels.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.apps.edit.domain import middle
from fastdiff.apps.edit.shape import SIDE, EmojiShapes
from fastdiff.apps.edit.subject import dilated, find_emoji

NEAR = 7  # pixels of a scene around both emoji that the edit shows
SOFT = 2.0  # pixels of a scene: standard deviation of the Gaussian that softens the border
NEW = 14.0  # dB of the new emoji, from which on its place is trusted


def keep_background(edited: Tensor, original: Tensor, swap: tuple[str, str], shapes: EmojiShapes) -> Tensor:
    """Return the edited picture with the pixels of the original one away from the emoji of both; (1, 3, H, W).

    `swap` names the old and the new emoji. Where one of them is not found, or the picture is no square, the edited
    picture returns as it is.
    """
    old, concept = find_emoji(original, swap[0], shapes), swap[1]
    found = shapes.fit(_levels(edited), concept)
    if old is None or found.psnr < NEW:
        return edited
    side = original.shape[-1]
    new, scale = shapes.emoji(concept, found.pose, side=side)[..., 3], side / (2 * SIDE)
    near = dilated(np.maximum(old[..., 3], new), round(NEAR * scale)).clip(0, 1)
    soft = torch.from_numpy(cv2.GaussianBlur(near, (0, 0), SOFT * scale)).to(edited)
    return torch.lerp(original, edited, soft)


def _levels(picture: Tensor) -> np.ndarray:
    """The middle square of a picture (1, 3, H, W) in [-1, 1] as (128, 128, 3) float32 in [0, 255]."""
    square: np.ndarray = ((middle(picture)[0].movedim(0, -1).float().cpu() + 1) * 127.5).clamp(0, 255).numpy()
    return square
