"""How well a picture shows an emoji: error and edges at the pose where the emoji fits the picture best.

Recognisers read colour and texture and find a word in blobs. This measure looks for the emoji itself, wherever it
stands in the picture.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import cv2
import numpy as np
from scipy.fft import irfft2, rfft2

from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, Pose

SIDES, SIDE_STEP = range(76, 125, 4), 4  # pixels; scenes have 88 to 112
TILTS, TILT_STEP = range(-12, 13, 4), 4  # degrees; scenes have up to 8
REFINEMENTS = (1 / 2, 1 / 4)  # of the steps: the grids around the best pose
REACH = 24  # pixels from the middle of the picture to that of the emoji, at most; scenes have up to 12
MARGIN = 2  # pixels around the emoji where edges are compared too: its outline
SMOOTHING = 1.0  # pixels, deviation of the blur before edges are compared: poses are found to a pixel
SMALLEST_ERROR = 1e-6  # mean squared: 60 dB


@dataclass(frozen=True)
class ShapeScore:
    """Agreement of a picture with an emoji."""

    psnr: float  # dB, over the opacity of the emoji
    edges: float  # correlation of gradients in [-1, 1], over the emoji and its outline
    pose: Pose


class ShapeMeasure:
    """Compares pictures with the emoji of a font."""

    def __init__(self, renderer: Renderer):
        self.renderer = renderer
        self._templates = lru_cache(maxsize=8)(self._rendered_templates)

    def __call__(self, picture: np.ndarray, concept: str) -> ShapeScore:
        """Fit the emoji to a picture (SIDE, SIDE, 3) uint8: over all poses of a grid, then between its points."""
        scaled = picture.astype(np.float32) / 255
        spectrum = _Spectrum(scaled)
        best = min((spectrum.fit(template) for template in self._templates(concept)), key=lambda fit: fit.error)
        for part in REFINEMENTS:
            around = product((-SIDE_STEP * part, 0, SIDE_STEP * part), (-TILT_STEP * part, 0, TILT_STEP * part))
            templates = [self._template(concept, best.pose.side + side, best.pose.tilt + tilt) for side, tilt in around]
            best = min((best, *map(spectrum.fit, templates)), key=lambda fit: fit.error)
        psnr = -10 * np.log10(max(best.error, SMALLEST_ERROR))
        return ShapeScore(float(psnr), edge_agreement(scaled, self.renderer.emoji(concept, best.pose) / 255), best.pose)

    def _rendered_templates(self, concept: str) -> "list[_Template]":
        return [self._template(concept, side, tilt) for side, tilt in product(SIDES, TILTS)]

    def _template(self, concept: str, side: float, tilt: float) -> "_Template":
        pose = Pose(side, SIDE / 2, SIDE / 2, tilt)
        return _Template(pose, self.renderer.emoji(concept, pose) / 255)


def edge_agreement(picture: np.ndarray, emoji: np.ndarray) -> float:
    """Correlation of the gradients of a picture, and of the picture with the emoji composited over it.

    The picture is (H, W, 3) in [0, 1]; the emoji (H, W, 4) in [0, 1], colours multiplied by opacity. Where the emoji is
    not, both pictures are the same: only the emoji and MARGIN pixels around it count.
    """
    opacity = emoji[..., 3]
    covered = emoji[..., :3] + (1 - opacity[..., None]) * picture
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    where = cv2.dilate((opacity > 0.5).astype(np.uint8), kernel) > 0
    first, second = (_gradients(each)[where].ravel() for each in (picture, covered))
    return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-6))


def _gradients(picture: np.ndarray) -> np.ndarray:
    """(H, W, 6): horizontal and vertical differences of every colour."""
    smooth = cv2.GaussianBlur(picture, (0, 0), SMOOTHING)
    return np.concatenate([np.gradient(smooth, axis=axis) for axis in (0, 1)], axis=-1)


class _Template:
    """An emoji in the middle of a picture, as spectra: of its opacity, and of its colours multiplied by opacity."""

    def __init__(self, pose: Pose, emoji: np.ndarray):
        self.pose = pose
        opacity, colours = emoji[..., 3], emoji[..., :3]
        self.weight = 3 * float(opacity.sum())
        self.power = float((colours**2 / np.maximum(opacity, 1e-3)[..., None]).sum())
        self.spectra = rfft2(np.moveaxis(emoji, -1, 0)).conj()  # (4, SIDE, SIDE / 2 + 1)


@dataclass(frozen=True)
class _Fit:
    pose: Pose
    error: float  # mean squared error, weighted by opacity


class _Spectrum:
    """A picture, ready to be compared with templates at all shifts at once."""

    def __init__(self, picture: np.ndarray):
        self._spectra = rfft2(np.moveaxis(picture, -1, 0))  # (3, SIDE, SIDE / 2 + 1)
        self._squares = rfft2((picture**2).sum(-1))

    def fit(self, template: _Template) -> _Fit:
        """The shift with the least sum of opacity (picture - colour)^2."""
        product = self._squares * template.spectra[3] - 2 * (self._spectra * template.spectra[:3]).sum(0)
        errors = np.roll(irfft2(product, (SIDE, SIDE)), (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
        down, right = np.unravel_index(errors.argmin(), errors.shape)
        error = float(errors[down, right] + template.power) / template.weight
        x, y = template.pose.x + float(right) - REACH, template.pose.y + float(down) - REACH
        return _Fit(replace(template.pose, x=x, y=y), error)
