"""Cuts the subject out of a scene: its opacity and its colours, without the background that shone through its edge.

The matting equation is C = a F + (1 - a) B (Porter and Duff 1984). The emoji at its registered pose says how opaque the
subject is; where subject and background differ clearly, the colours of the picture correct it.
"""

from dataclasses import astuple, dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.apps.edit.domain import levels, middle
from fastdiff.apps.edit.shape import SIDE, EmojiShapes, Pose, ShapeFit

SCENE = 2 * SIDE  # pixels of a scene
KNOWN = 17.0  # dB of the emoji, mean of as it was found and as it is registered, from which on its outline is trusted
OUTSIDE, INSIDE = 0.02, 0.98  # opacity up to which a pixel shows the background alone, and from which on the subject
NEAR = 4  # pixels around the emoji that registration compares
UNITS = np.array([3.0, 2.0, 2.0, 3.0])  # of registration: pixels of the side, of x and of y, degrees of the tilt
DIFFERENCE = 0.2  # of a unit, over which registration measures slopes
EVALUATIONS = 20  # of a registration, at most, without those of slopes
EXPECTED = 1.0  # weight of the expected opacity, against the squared distance of subject and background in [0, 3]


@dataclass(frozen=True)
class Subject:
    """The subject of a picture: `opacity` (1, 1, H, W) in [0, 1], `colour` (1, 3, H, W) in [-1, 1] multiplied by it."""

    opacity: Tensor
    colour: Tensor

    def to(self, device: torch.device) -> "Subject":
        return Subject(self.opacity.to(device), self.colour.to(device))

    def over(self, background: Tensor) -> Tensor:
        """Composite the subject over a background (1, 3, H, W) in [-1, 1]."""
        return self.colour + (1 - self.opacity) * background

    def outside(self, mask: Tensor, picture: Tensor) -> "Subject":
        """Add everything outside a mask (1, 1, H, W) in [0, 1] of the picture (1, 3, H, W) to the subject."""
        return Subject(1 - mask * (1 - self.opacity), torch.lerp(picture, self.colour, mask))


def find_subject(picture: Tensor, concept: str, shapes: EmojiShapes) -> Subject | None:
    """Cut the emoji of a concept out of a square scene (1, 3, H, H) in [-1, 1]; None if it is not found reliably."""
    emoji = find_emoji(picture, concept, shapes)
    return None if emoji is None else cut_out(picture, emoji)


def find_emoji(picture: Tensor, concept: str, shapes: EmojiShapes) -> np.ndarray | None:
    """Draw the emoji of a concept where a square scene (1, 3, H, H) in [-1, 1] has it; None if it is not found.

    Returns (H, H, 4) as `EmojiShapes.emoji` does.
    """
    height, width = picture.shape[-2:]
    if height != width:
        return None
    scene = _pixels(middle(picture))
    first = shapes.fit(levels(picture), concept)
    pose, psnr = _registered(scene, concept, first, shapes)
    return shapes.emoji(concept, pose, side=width) if (first.psnr + psnr) / 2 >= KNOWN else None


def cut_out(picture: Tensor, emoji: np.ndarray) -> Subject:
    """Cut an emoji out of a picture (1, 3, H, H) in [-1, 1].

    `emoji` (H, H, 4) in [0, 1] is as `EmojiShapes.emoji` draws it where the picture has it.
    """
    pixels, expected = _pixels(picture), emoji[..., 3]
    reach = max(1, round(len(pixels) / SCENE))
    grown, shrunk = dilated(expected, reach), 1 - dilated(1 - expected, reach)
    behind, front = (
        pixels.reshape(-1, 3)[nearest(where)] for where in (dilated(grown, reach) <= OUTSIDE, shrunk >= INSIDE)
    )
    difference = front - behind
    seen, weight = (((other - behind) * difference).sum(-1) for other in (pixels, front))
    opacity = ((seen + EXPECTED * expected) / (weight + EXPECTED)).clip(shrunk, grown)[..., None]
    colour = (pixels - (1 - opacity) * behind).clip(0, opacity)
    return Subject(_tensor(opacity), _tensor(2 * colour - opacity))


def nearest(where: np.ndarray) -> np.ndarray:
    """Return for every pixel the flat index (H, W) of the nearest one in `where` (H, W) of bool; its own if none is."""
    own = np.arange(where.size).reshape(where.shape)
    if not where.any():
        return own
    distances = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = distances[1]
    of_label = np.zeros(int(labels.max()) + 1, np.int64)
    of_label[labels[where]] = own[where]
    return np.asarray(of_label[labels])


def dilated(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the largest of the values (H, W) within `reach` pixels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(values.astype(np.float32), kernel))


def _registered(pixels: np.ndarray, concept: str, first: ShapeFit, shapes: EmojiShapes) -> tuple[Pose, float]:
    """Return the pose near the first one at which emoji and background explain a scene best, and their PSNR in dB."""
    from scipy.optimize import least_squares

    compared = dilated(first.opaque, NEAR) > 0
    behind, wanted = pixels.reshape(-1, 3)[nearest(~compared)][compared], pixels[compared]

    def pose(ratios: np.ndarray) -> Pose:
        return Pose(*(np.array(astuple(first.pose)) + (ratios - 1) * UNITS).tolist())

    def residual(ratios: np.ndarray) -> np.ndarray:
        emoji = shapes.emoji(concept, pose(ratios))[compared]
        drawn = emoji[..., :3] + (1 - emoji[..., 3:]) * behind
        return np.asarray((drawn - wanted).ravel(), np.float64)

    found = least_squares(residual, np.ones(4), diff_step=DIFFERENCE, max_nfev=EVALUATIONS)
    return pose(found.x), float(-10 * np.log10(max(2 * found.cost / found.fun.size, 1e-6)))


def _pixels(picture: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1] to (H, W, 3) float32 in [0, 1]."""
    pixels: np.ndarray = (picture[0].movedim(0, -1).float().cpu() / 2 + 0.5).clamp(0, 1).numpy()
    return pixels


def _tensor(values: np.ndarray) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(values.astype(np.float32)).movedim(-1, 0)[None]
