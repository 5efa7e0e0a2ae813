"""Pictures whose shape score is known to be good or bad: what a score of the model is compared with."""

from collections.abc import Callable

import cv2
import numpy as np

from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.render import Renderer, background, composite
from fastdiff.training.edit.scenes import SIDE, Scene

BLUR = 4.0  # pixels, deviation
TILE = 16  # pixels

Control = Callable[[Renderer, Scene], np.ndarray]  # -> (SIDE, SIDE, 3) uint8


def true_render(renderer: Renderer, scene: Scene) -> np.ndarray:
    return renderer.picture(scene)


def blurred(renderer: Renderer, scene: Scene) -> np.ndarray:
    """The emoji out of focus by BLUR pixels, on its sharp background."""
    emoji = cv2.GaussianBlur(renderer.emoji(scene.concept, scene.pose), (0, 0), BLUR)
    return composite(emoji, background(scene.background, scene.pattern))


def mean_tiles(renderer: Renderer, scene: Scene) -> np.ndarray:
    """The scene in squares of TILE pixels, each in its mean colour."""
    few = cv2.resize(renderer.picture(scene), (SIDE // TILE, SIDE // TILE), interpolation=cv2.INTER_AREA)
    return cv2.resize(few, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def disc(renderer: Renderer, scene: Scene) -> np.ndarray:
    """A disc with the emoji's area, centre and mean colour, on its background."""
    emoji = renderer.emoji(scene.concept, scene.pose)
    opacity = emoji[..., 3].astype(np.float64) / 255
    rows, columns = np.mgrid[:SIDE, :SIDE]
    y, x = ((opacity * axis).sum() / opacity.sum() for axis in (rows, columns))
    inside = np.clip(np.sqrt(opacity.sum() / np.pi) - np.hypot(rows - y, columns - x) + 0.5, 0, 1)[..., None]
    mean = emoji[..., :3].sum((0, 1)) / opacity.sum()
    return composite(np.dstack([inside * mean, 255 * inside]), background(scene.background, scene.pattern))


def unrelated(renderer: Renderer, scene: Scene) -> np.ndarray:
    """The emoji half the list further, in its place."""
    names = list(CONCEPTS)
    other = names[(names.index(scene.concept) + len(names) // 2) % len(names)]
    return composite(renderer.emoji(other, scene.pose), background(scene.background, scene.pattern))


CONTROLS: dict[str, Control] = {
    "true render": true_render,
    "true emoji, blurred by 4 px": blurred,
    "tiles of 16 px": mean_tiles,
    "disc of its mean colour": disc,
    "unrelated emoji": unrelated,
}
