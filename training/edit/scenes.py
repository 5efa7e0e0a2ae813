"""The domain of the bundled backbone: one emoji in some pose over a background of named colours.

A scene is a value. With another concept or background put in by `dataclasses.replace`, it is the exact answer to the
edit of that word.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from fastdiff.models import captions
from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit.concepts import CONCEPTS

SIDE = 128  # pixels of a scene

KINDS = ("plain", "gradient", "striped", "dotted", "checkered")


@dataclass(frozen=True)
class Background:
    """A kind of KINDS in one colour if it is plain, else in two."""

    kind: str
    colours: tuple[str, ...]

    @property
    def phrase(self) -> str:
        """Such as `a teal and white striped background`; a plain one goes without its kind."""
        return captions.background(self.kind, self.colours)


@dataclass(frozen=True)
class Pose:
    """Side and centre of the emoji's square in pixels, and its tilt in degrees, counter-clockwise."""

    side: float
    x: float
    y: float
    tilt: float


@dataclass(frozen=True)
class Pattern:
    """Placement of the background: direction in degrees, period and shift in pixels."""

    angle: float
    period: float
    shift: float


@dataclass(frozen=True)
class Scene:
    concept: str
    background: Background
    pose: Pose
    pattern: Pattern

    @property
    def caption(self) -> str:
        """Such as `fox on a teal and white striped background`."""
        return captions.caption(self.concept, self.background.kind, self.background.colours)


def held_out(concept: str, background: Background) -> bool:
    """True if the pair is of the fixed tenth that is held out of training."""
    return pair_hash(concept, background) % 10 == 0


def pair_hash(concept: str, background: Background) -> int:
    """A hash of the pair that splits pairs into sets; the order of the colours does not matter."""
    pair = "|".join((concept, background.kind, *sorted(background.colours)))
    return int.from_bytes(hashlib.sha256(pair.encode()).digest()[:4])


def draw(rng: np.random.Generator, spread: float = 1.0, held: bool = False) -> Scene:
    """A random scene, of a held-out pair if `held`, else of a training pair.

    At a spread of 0 every emoji is upright in the middle; 1 is the full range of poses.
    """
    while True:
        concept, background = str(rng.choice(list(CONCEPTS))), _background(rng)
        if held_out(concept, background) == held:
            return Scene(concept, background, _pose(rng, spread), _pattern(rng))


def _background(rng: np.random.Generator) -> Background:
    kind = str(rng.choice(KINDS))
    colours = rng.choice(list(COLOURS), 1 if kind == "plain" else 2, replace=False)
    return Background(kind, tuple(map(str, colours)))


def _pose(rng: np.random.Generator, spread: float) -> Pose:
    side, x, y, tilt = spread * rng.uniform(-1, 1, 4)
    side = 100 + 12 * side
    room = (SIDE - side) / 2
    return Pose(side, SIDE / 2 + 0.6 * x * room, SIDE / 2 + 0.6 * y * room, 8 * tilt)


def _pattern(rng: np.random.Generator) -> Pattern:
    return Pattern(45.0 * rng.integers(8), rng.uniform(28, 48), rng.uniform(0, 48))
