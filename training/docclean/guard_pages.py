"""Degraded pages with their truth, for fitting and measuring the guard."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.colour_degrade import PROFILES, Scene, choose_white, degrade_colour
from fastdiff.training.docclean.colour_page import CONTENT, KINDS, ColourRenderer
from fastdiff.training.docclean.colour_pool import load_photographs
from fastdiff.training.docclean.column import held_out_faces
from fastdiff.training.docclean.fonts import faces_by_style

SIDE = 640  # pixels of a page
PRINTS = 2  # degraded pages of one clean page
SOILED = 0.4  # share of the pages that are dirtier than those that train restorers
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


def render_examples(seed: int, count: int, held_out: bool, side: int = SIDE) -> Iterator[Example]:
    """Yield `count` pages, every kind under every profile in turn; `held_out` chooses fonts and photographs.

    Raises MissingError if fonts or photographs are not installed.
    """
    faces = [face for family in held_out_faces() for face in family] if held_out else []
    styles = {style: [faces] for style in STYLES} if held_out else faces_by_style()
    renderer = ColourRenderer(styles, load_photographs(held_out), side)
    bank = textures.make_bank(np.random.default_rng(seed), count=8)
    kinds, profiles = list(KINDS), list(PROFILES)
    back: np.ndarray = np.ones((side, side, 3), np.float32)
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        profile = profiles[index % len(profiles)]
        if index % PRINTS == 0:
            page = renderer.page(rng, kinds[index // PRINTS % len(kinds)])
        scene = Scene(back, page.x_height, bank, choose_white(rng, page.neutral, profile))
        degraded = degrade_colour(rng, page.pixels / np.float32(255), scene, profile)
        if rng.random() < SOILED:
            degraded = add_dirt(rng, degraded, bank)
        pair = [np.round(255 * np.clip(degraded, 0, 1)).astype(np.uint8), page.pixels]
        if page.neutral and rng.random() < GREY:
            pair = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in pair]
        yield Example(pair[0], pair[1], page.paper, page.kind, profile)
        if index % PRINTS == PRINTS - 1:
            back = page.pixels / np.float32(255)


def add_dirt(rng: np.random.Generator, image: np.ndarray, bank: textures.Bank) -> np.ndarray:
    """Crumple a page hard, or stain it deeply with sharp rings and blots, grey or brown."""
    side = image.shape[0]
    if rng.random() < 0.5:
        shade = 1 + rng.uniform(0.08, 0.3) * textures.crop(rng, bank.crumple, side, (0.3, 1.5))
        image = image * shade[..., None].astype(np.float32)
    for kind in (bank.ring, bank.stain):
        if rng.random() < 0.5:
            absorbed = np.ones(3) if rng.random() < 0.6 else np.array([rng.uniform(0.3, 0.7), 0.7, 1])
            spread = np.clip(textures.crop(rng, kind, side, (0.3, 1.5)) * rng.uniform(1, 6) - rng.uniform(0, 0.5), 0, 1)
            depth = rng.uniform(0.2, 0.85) * spread * np.clip(0.8 + 0.2 * textures.crop(rng, bank.grain, side), 0, 1)
            image = image * (1 - depth[..., None] * absorbed)
    return image
