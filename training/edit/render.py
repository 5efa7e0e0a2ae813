"""Scenes as pictures, from the bitmaps of the Noto Color Emoji font."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastdiff.models.scene_colours import COLOURS
from fastdiff.solvers.errors import MissingError
from fastdiff.training.data_folders import find_font
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.scenes import SIDE, Background, Pattern, Pose, Scene

STRIKE = 109  # the one size of the font's bitmaps
SQUARE = 136  # pixels: their larger side
FINE = 2  # emoji are drawn so many times larger, and averaged


def emoji_font() -> Path:
    """Returns the installed Noto Color Emoji font, or where Debian installs it."""
    return find_font("NotoColorEmoji.ttf") or Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


class Renderer:
    """Draws scenes; the same scene is the same picture, bit by bit. Raises MissingError without the font."""

    def __init__(self, font: Path | None = None):
        font = font or emoji_font()
        try:
            strike = ImageFont.truetype(str(font), STRIKE)
            self._emoji = {name: _bitmap(strike, character) for name, character in CONCEPTS.items()}
        except OSError as error:
            raise MissingError(
                f"{font} is not the Noto Color Emoji font with bitmaps: install fonts-noto-color-emoji, or give --font"
            ) from error

    def picture(self, scene: Scene) -> np.ndarray:
        """(SIDE, SIDE, 3) uint8."""
        return composite(self.emoji(scene.concept, scene.pose), background(scene.background, scene.pattern))

    def matte(self, scene: Scene) -> np.ndarray:
        """The emoji's opacity, (SIDE, SIDE) in [0, 1]."""
        return self.emoji(scene.concept, scene.pose)[..., 3] / 255

    def emoji(self, concept: str, pose: Pose) -> np.ndarray:
        """The emoji alone: (SIDE, SIDE, 4) float32 in [0, 255], colours multiplied by opacity."""
        side = SIDE * FINE
        large = cv2.warpAffine(self._emoji[concept], _placing(pose), (side, side), flags=cv2.INTER_LINEAR)
        return cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def composite(emoji: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """An emoji, as `Renderer.emoji`, over a picture (SIDE, SIDE, 3) in [0, 255]: (SIDE, SIDE, 3) uint8."""
    return np.rint(emoji[..., :3] + (1 - emoji[..., 3:] / 255) * behind).astype(np.uint8)


def _bitmap(strike: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """(SQUARE, SQUARE, 4) uint8, colours multiplied by opacity."""
    canvas = Image.new("RGBA", (SQUARE, SQUARE))
    ImageDraw.Draw(canvas).text((SQUARE / 2, SQUARE / 2), character, font=strike, embedded_color=True, anchor="mm")
    rgba = np.asarray(canvas).astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    return np.rint(rgba).astype(np.uint8)


def _placing(pose: Pose) -> np.ndarray:
    """The map from a bitmap's pixels to those of the large picture, (2, 3)."""
    half = (SQUARE - 1) / 2
    turn = cv2.getRotationMatrix2D((half, half), pose.tilt, FINE * pose.side / SQUARE)
    shift = FINE * np.array([pose.x, pose.y]) - 0.5 - half
    return np.column_stack([turn[:, :2], turn[:, 2] + shift])


def background(described: Background, pattern: Pattern) -> np.ndarray:
    """(SIDE, SIDE, 3) float32 in [0, 255]."""
    first, *second = (np.array(COLOURS[name], np.float32) for name in described.colours)
    if not second:
        return np.broadcast_to(first, (SIDE, SIDE, 3))
    share = _share(described.kind, pattern)[..., None]
    return share * first + (1 - share) * second[0]


def _share(kind: str, pattern: Pattern) -> np.ndarray:
    """How much of every pixel the first colour takes, (SIDE, SIDE) float32 in [0, 1]; edges are one pixel soft."""
    angle = np.deg2rad(pattern.angle)
    axis = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    along = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
    if kind == "gradient":
        return 0.5 - along / (SIDE * (abs(np.cos(angle)) + abs(np.sin(angle))))
    across = np.cos(angle) * axis[:, None] - np.sin(angle) * axis[None]
    u, v = (_from_middle(line + pattern.shift, pattern.period) for line in (along, across))
    if kind == "dotted":
        return _soft(np.hypot(u, v) - 0.3 * pattern.period)
    first, second = (_soft(pattern.period / 4 - abs(line)) for line in (u, v))
    return first if kind == "striped" else first + second - 2 * first * second


def _from_middle(line: np.ndarray, period: float) -> np.ndarray:
    """Signed distance to the middle of the period that a coordinate falls in, in pixels."""
    return (line / period % 1 - 0.5) * period


def _soft(distance: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + distance, 0, 1)
