"""Measures how well a scene shows the emoji of a concept, by bundled bitmaps: no font is needed."""

from collections.abc import Sequence
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
        self._fits = lru_cache(maxsize=8)(self._fit)

    def fit(self, picture: np.ndarray, concept: str) -> ShapeFit:
        """Fit the emoji of a concept to a picture (2 SIDE, 2 SIDE, 3) in [0, 255]."""
        return self._fits(picture.astype(np.float32).tobytes(), concept)

    def _fit(self, levels: bytes, concept: str) -> ShapeFit:
        """Fit to the levels of a picture; an edit compares its input twice, and once an attempt with each emoji."""
        picture = np.frombuffer(levels, np.float32).reshape(2 * SIDE, 2 * SIDE, 3)
        small = cv2.resize(picture / 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        spectra = np.fft.rfft2(np.moveaxis(small, -1, 0)), np.fft.rfft2((small**2).sum(-1))
        best = self._templates(concept).best(*spectra)
        around = self._drawn(concept, [(best.side + larger, best.tilt + more) for larger, more in FINER])
        best = min(best, around.best(*spectra), key=lambda found: found.error)
        emoji = np.roll(best.emoji, best.shift, (0, 1))
        opaque = cv2.resize(emoji[..., 3], (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR) > 0.5
        y, x = (SIDE - 0.5 + 2 * pixels for pixels in best.shift)
        pose = Pose(best.side, x, y, best.tilt)
        return ShapeFit(float(-10 * np.log10(max(best.error, SMALLEST_ERROR))), _edges(small, emoji), opaque, pose)

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

    def _all_templates(self, concept: str) -> "_Templates":
        return self._drawn(concept, list(product(SIDES, TILTS)))

    def _drawn(self, concept: str, poses: Sequence[tuple[float, float]]) -> "_Templates":
        """Draw the emoji of a concept in the middle of a picture, at sides and tilts."""
        middle = SIDE - 0.5
        emoji = [self.emoji(concept, Pose(side, middle, middle, tilt), SIDE) for side, tilt in poses]
        return _Templates(np.stack(emoji), poses)


def _edges(picture: np.ndarray, emoji: np.ndarray) -> float:
    """Correlation of gradients over the emoji and a pixel around it; elsewhere both pictures are the same."""
    covered = emoji[..., :3] + (1 - emoji[..., 3:]) * picture
    where = cv2.dilate((emoji[..., 3] > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    first, second = (np.stack(np.gradient(each, axis=(0, 1)))[:, where].ravel() for each in (picture, covered))
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6))


@dataclass(frozen=True)
class _Found:
    """The best of some templates: its mean squared error at the shift (down, right)."""

    error: float
    emoji: np.ndarray  # (SIDE, SIDE, 4), not shifted
    side: float
    tilt: float
    shift: tuple[int, int]


class _Templates:
    """Emoji (N, SIDE, SIDE, 4) in the middle of a picture, at N sides and tilts, with their spectra."""

    def __init__(self, emoji: np.ndarray, poses: Sequence[tuple[float, float]]) -> None:
        self._emoji, self._poses = emoji, poses
        opacity, colours = emoji[..., 3], emoji[..., :3]
        self._weights = np.array([3 * float(each.sum()) for each in opacity])
        powers = colours**2 / np.maximum(opacity, 1e-3)[..., None]
        self._powers = np.array([float(each.sum()) for each in powers])
        self._spectra = np.fft.rfft2(np.moveaxis(emoji, -1, 1)).conj()  # (N, 4, SIDE, SIDE // 2 + 1)

    def best(self, colours: np.ndarray, squares: np.ndarray) -> _Found:
        """Return the template that fits a picture best, at shifts up to REACH.

        The picture is given by the spectra of its colours (3, SIDE, SIDE // 2 + 1) and of the sum of their squares.
        """
        products = squares * self._spectra[:, 3] - 2 * (colours * self._spectra[:, :3]).sum(1)
        errors = np.fft.irfft2(products, (SIDE, SIDE))
        errors = np.roll(errors, (REACH, REACH), (1, 2))[:, : 2 * REACH + 1, : 2 * REACH + 1]
        smallest = (errors.min((1, 2)) + self._powers) / self._weights
        index = int(smallest.argmin())
        down, right = np.unravel_index(errors[index].argmin(), errors[index].shape)
        shift = int(down) - REACH, int(right) - REACH
        return _Found(float(smallest[index]), self._emoji[index], *self._poses[index], shift)


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
