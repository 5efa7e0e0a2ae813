"""Degraded pages with their truth, on which the guard is fitted and measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.colour_degrade import PROFILES, Scene, choose_white, degrade_colour
from fastdiff.training.docclean.colour_page import CONTENT, KINDS, ColourRenderer
from fastdiff.training.docclean.colour_pool import load_photographs
from fastdiff.training.docclean.column import held_out as held_out_faces
from fastdiff.training.docclean.fonts import by_style

SIDE = 768  # pixels of a page
GREY = 0.35  # share of pages scanned in grey
STYLES = ("serif", "sans", "mono", "old", "hand")


@dataclass(frozen=True)
class Example:
    """A degraded page and its truth, uint8 RGB (H, W, 3) or grey (H, W), its true paper (3,), kind and profile."""

    degraded: np.ndarray
    clean: np.ndarray
    paper: np.ndarray
    kind: str
    profile: str

    @property
    def content(self) -> np.ndarray:
        """The pixels that differ from the paper in the truth, bool (H, W)."""
        paper = self.paper if self.clean.ndim == 3 else np.float32(self.paper.max())
        difference = np.abs(self.clean - paper.astype(np.float32))
        return (difference.max(-1) if difference.ndim == 3 else difference) > 255 * CONTENT


def make(seed: int, count: int, held_out: bool, side: int = SIDE) -> Iterator[Example]:
    """Yields `count` pages, every kind under every profile in turn; `held_out` chooses fonts and photographs.

    Raises MissingError where fonts or photographs are not installed.
    """
    faces = [face for family in held_out_faces() for face in family] if held_out else []
    styles = {style: [faces] for style in STYLES} if held_out else by_style()
    renderer = ColourRenderer(styles, load_photographs(held_out), side)
    bank = textures.make(np.random.default_rng(seed), count=8)
    kinds, profiles = list(KINDS), list(PROFILES)
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        profile = profiles[index % len(profiles)]
        page = renderer.page(rng, kinds[index // len(profiles) % len(kinds)])
        back = renderer.page(rng).pixels / np.float32(255)
        scene = Scene(back, page.x_height, bank, choose_white(rng, page.neutral, profile))
        degraded = degrade_colour(rng, page.pixels / np.float32(255), scene, profile)
        pair = [np.round(255 * degraded).astype(np.uint8), page.pixels]
        if page.neutral and rng.random() < GREY:
            pair = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in pair]
        yield Example(pair[0], pair[1], page.paper, page.kind, profile)
