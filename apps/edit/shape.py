"""Measures how well a scene shows the emoji of a concept, by bundled bitmaps: no font is needed."""

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from fastdiff.solvers.errors import MissingError

SHEET = "emoji.webp"  # the emoji of all concepts, in the order of the recogniser's labels, COLUMNS a row
TILE, COLUMNS = 68, 14  # pixels of an emoji's square in the sheet, and emoji in a row
SIDE = 64  # pixels at which scenes are compared: half of their size
SIDES, TILTS = range(76, 125, 6), range(-10, 11, 5)  # pixels of a scene, degrees; scenes have 88 to 112, and up to 8
FINER = tuple(product((-3, 0, 3), (-2.5, 0, 2.5)))  # steps around the best of these
REACH = 12  # pixels from the middle to that of the emoji, at most; scenes have up to 6
SMALLEST_ERROR = 1e-6  # mean squared: 60 dB


@dataclass(frozen=True)
class Pose:
    """Side and middle of the emoji's square in pixels of a scene, and its tilt in degrees, counter-clockwise."""

    side: float
    x: float
    y: float
    tilt: float


@dataclass(frozen=True)
class ShapeFit:
    """PSNR in dB over the opacity of the emoji at its best pose, agreement of edges, and where the emoji is opaque.

    The agreement of edges, in [-1, 1], is the correlation of the gradients of the picture with those of the picture
    with the emoji over it: blobs in the right colours come near in PSNR, and have other edges.
    """

    psnr: float
    edges: float
    opaque: np.ndarray  # (2 SIDE, 2 SIDE) bool
    pose: Pose


class EmojiShapes:
    """Compares scenes with the emoji of concepts. Raises MissingError where the sheet of emoji is lost."""

    def __init__(self, concepts: tuple[str, ...]) -> None:
        self._concepts, self._sheet = concepts, _sheet()
        self._templates = lru_cache(maxsize=16)(self._all_templates)

    def fit(self, picture: np.ndarray, concept: str) -> ShapeFit:
        """Fit the emoji of a concept to a picture (2 SIDE, 2 SIDE, 3) in [0, 255]."""
        small = cv2.resize(picture.astype(np.float32) / 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        spectra, squares = np.fft.rfft2(np.moveaxis(small, -1, 0)), np.fft.rfft2((small**2).sum(-1))
        best = min((_best(each, spectra, squares) for each in self._templates(concept)), key=lambda fit: fit[0])
        side, tilt = best[1].side, best[1].tilt
        around = [self._template(concept, side + larger, tilt + more) for larger, more in FINER]
        error, template, shift = min(
            (best, *(_best(each, spectra, squares) for each in around)), key=lambda fit: fit[0]
        )
        emoji = np.roll(template.emoji, shift, (0, 1))
        opaque = cv2.resize(emoji[..., 3], (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR) > 0.5
        y, x = (SIDE - 0.5 + 2 * pixels for pixels in shift)
        pose = Pose(template.side, x, y, template.tilt)
        return ShapeFit(float(-10 * np.log10(max(error, SMALLEST_ERROR))), _edges(small, emoji), opaque, pose)

    def emoji(self, concept: str, pose: Pose, side: int = 2 * SIDE) -> np.ndarray:
        """Draw the emoji of a concept in a scene of `side` pixels; the pose is that in a scene of 2 SIDE pixels.

        Returns (side, side, 4) float32 in [0, 1], colours multiplied by opacity.
        """
        row, column = divmod(self._concepts.index(concept), COLUMNS)
        tile = self._sheet[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        half = (TILE - 1) / 2
        scale = side / (2 * SIDE)
        x, y = (scale * (place + 0.5) - 0.5 for place in (pose.x, pose.y))
        placing = cv2.getRotationMatrix2D((half, half), pose.tilt, scale * pose.side / TILE)
        placing = placing + np.array([[0, 0, x - half], [0, 0, y - half]])
        return cv2.warpAffine(tile, placing, (side, side), flags=cv2.INTER_AREA)

    def _all_templates(self, concept: str) -> "list[_Template]":
        return [self._template(concept, side, tilt) for side, tilt in product(SIDES, TILTS)]

    def _template(self, concept: str, side: float, tilt: float) -> "_Template":
        middle = SIDE - 0.5
        emoji = self.emoji(concept, Pose(side, middle, middle, tilt), SIDE)
        return _Template(emoji, side, tilt)


def _edges(picture: np.ndarray, emoji: np.ndarray) -> float:
    """Correlation of gradients over the emoji and a pixel around it; elsewhere both pictures are the same."""
    covered = emoji[..., :3] + (1 - emoji[..., 3:]) * picture
    where = cv2.dilate((emoji[..., 3] > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    first, second = (np.stack(np.gradient(each, axis=(0, 1)))[:, where].ravel() for each in (picture, covered))
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6))


class _Template:
    """An emoji in the middle of a picture, with the spectra of its opacity and its colours multiplied by opacity."""

    def __init__(self, emoji: np.ndarray, side: float, tilt: float) -> None:
        self.emoji, self.side, self.tilt = emoji, side, tilt
        opacity, colours = emoji[..., 3], emoji[..., :3]
        self.weight = 3 * float(opacity.sum())
        self.power = float((colours**2 / np.maximum(opacity, 1e-3)[..., None]).sum())
        self.spectra = np.fft.rfft2(np.moveaxis(emoji, -1, 0)).conj()


def _best(template: _Template, spectra: np.ndarray, squares: np.ndarray) -> tuple[float, _Template, tuple[int, int]]:
    """Return the mean squared error at the best shift, the template, and the shift (down, right)."""
    product_ = squares * template.spectra[3] - 2 * (spectra * template.spectra[:3]).sum(0)
    errors = np.roll(np.fft.irfft2(product_, (SIDE, SIDE)), (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    down, right = np.unravel_index(errors.argmin(), errors.shape)
    error = (float(errors[down, right]) + template.power) / template.weight
    return error, template, (int(down) - REACH, int(right) - REACH)


@cache
def _sheet() -> np.ndarray:
    """The sheet (H, W, 4) float32 in [0, 1], colours multiplied by opacity."""
    path = Path(str(files("fastdiff.data") / SHEET))
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.exists() else None
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        raise MissingError(f"the bundled emoji {path} are missing: install the package again")
    sheet = pixels[..., [2, 1, 0, 3]].astype(np.float32) / 255
    sheet[..., :3] *= sheet[..., 3:]
    return sheet
