"""Puts dirt and blur of known strength on a page of known content, and keeps the page without the dirt.

Dirt is stains, rings, folds, show-through, speckle, shadows and uneven light. Optics, ink and noise stay on the evened
page: an ideal guard could put back no more.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.docclean.trust.canvas import KnownPage, Rng
from fastdiff.training.docclean import degrade, palette
from fastdiff.training.docclean.textures import Bank, cloud, crop

HARD_TO_READ = ("numbers", "codes", "tinted paper")  # kinds whose letters are blurred most
GREY = ("numbers", "codes", "pencil", "hair lines")  # kinds of which every other page is a grey scan


@dataclass(frozen=True)
class Strength:
    """The strength of dirt and blur on a page; values are drawn uniformly from ranges.

    Depths are shares of lost light. `blur` and `hard_blur` are radii of defocus in glyph heights, the latter for kinds
    in HARD_TO_READ. `noise` is a standard deviation, white = 1.
    """

    name: str
    stains: tuple[float, float]
    folds: int
    crumple: float
    light: float
    shadow: tuple[float, float]
    show_through: tuple[float, float]
    speckle: float  # share of the page
    tone: tuple[float, float]  # of the paper
    noise: float
    quality: int  # of JPEG
    blur: tuple[float, float]
    hard_blur: tuple[float, float]


STRENGTHS = (
    Strength("light", (0.04, 0.1), 1, 0.015, 0.03, (0, 0.08), (0.0, 0.03), 0.0003, (0.92, 0.98), 0.004, 92,
             (0.02, 0.06), (0.04, 0.1)),
    Strength("medium", (0.08, 0.18), 2, 0.03, 0.05, (0.08, 0.2), (0.03, 0.08), 0.001, (0.86, 0.94), 0.008, 80,
             (0.05, 0.1), (0.1, 0.17)),
    Strength("heavy", (0.12, 0.3), 3, 0.05, 0.08, (0.15, 0.32), (0.06, 0.16), 0.003, (0.8, 0.9), 0.012, 60,
             (0.08, 0.14), (0.18, 0.28)),
)  # fmt: skip


@dataclass(frozen=True)
class DirtyPage:
    """A scanned page and its truth, uint8, all grey (H, W) or all RGB (H, W, 3).

    `evened` is the page without dirt on evenly lit paper: white paper is white, coloured paper as light as most of it
    appears. `relit` still has the dirt, with its light undone exactly.
    """

    known: KnownPage
    strength: str
    pixels: np.ndarray
    relit: np.ndarray
    evened: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.known.kind}, {self.strength}"


def make_dirty_page(
    rng: Rng, known: KnownPage, back: KnownPage, bank: Bank, strength: Strength, grey: bool
) -> DirtyPage:
    """Make the page dirty; `back` is the page printed on its other side."""
    shape = known.pixels.shape[:2]
    side = max(shape)
    fields = Fields(rng, bank, side)
    image = _inked(rng, known)
    dirt = fields.stains(strength) * fields.folds(strength)[..., None] * fields.speckle(strength)[..., None]
    dirt = dirt[: shape[0], : shape[1]] * _through(rng, _shares(back.pixels), shape, strength)
    light = (fields.light(strength) * fields.shadow(strength))[: shape[0], : shape[1], None]
    white = _white(rng, known, strength)
    kernel = _kernel(rng, known, strength)
    seen = _blurred(image * dirt, kernel)
    noise = rng.normal(0, strength.noise, (*shape, 1)) + rng.normal(0, strength.noise / 2, (*shape, 3))
    pixels = _compressed(seen * light * white + noise, strength.quality)
    shown_white = np.median(light) * white if known.paper.min() < 255 else 1.0  # coloured paper keeps its lightness
    evened, relit = _blurred(image, kernel) * shown_white, (seen + noise) * shown_white
    shown = [pixels, _uint8(relit), _uint8(evened)]
    if grey:
        shown = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in shown]
    return DirtyPage(known, strength.name, *shown)


@dataclass(frozen=True)
class Fields:
    """Shares of light (side, side) that dirt and illumination leave, drawn with one generator."""

    rng: Rng
    bank: Bank
    side: int

    def stains(self, strength: Strength) -> np.ndarray:
        """Return blots and rings, brown or grey: (side, side, 3)."""
        blot = crop(self.rng, self.bank.stain, self.side, (1.6, 3)) * self.rng.uniform(*strength.stains)
        ring = crop(self.rng, self.bank.ring, self.side, (1.2, 2.2)) * self.rng.uniform(*strength.stains)
        brown = np.array([self.rng.uniform(0.25, 0.6), self.rng.uniform(0.5, 0.8), self.rng.uniform(0.8, 1)])
        absorbed = brown if self.rng.random() < 0.75 else np.full(3, 0.8)
        return 1 - np.maximum(blot, ring)[..., None] * absorbed

    def folds(self, strength: Strength) -> np.ndarray:
        image = np.ones((self.side, self.side), np.float32)
        image *= 1 + strength.crumple * crop(self.rng, self.bank.crumple, self.side, (1, 2.5))
        for _ in range(strength.folds):
            fold = degrade.fold_shading(self.rng, np.ones_like(image))
            image *= 1 + (fold - 1) * (0.4 + 4 * strength.crumple)
        return np.clip(image, 0.3, 1.15)

    def speckle(self, strength: Strength) -> np.ndarray:
        noise = cv2.GaussianBlur(self.rng.random((self.side, self.side), np.float32), (0, 0), 0.7)
        grains = noise < np.quantile(noise, strength.speckle)
        return np.where(grains, self.rng.uniform(0.25, 0.6), 1.0)

    def light(self, strength: Strength) -> np.ndarray:
        return np.clip(1 + strength.light * cloud(self.rng, self.side, 1), 0.6, 1.1)

    def shadow(self, strength: Strength) -> np.ndarray:
        """Return a soft shadow across a part of the page, as of a hand or the binding."""
        y, x = np.mgrid[: self.side, : self.side].astype(np.float32)
        angle = self.rng.uniform(0, 2 * np.pi)
        across = (x - self.side * self.rng.uniform(0.1, 0.9)) * np.cos(angle)
        across += (y - self.side * self.rng.uniform(0.1, 0.9)) * np.sin(angle)
        edge = 1 / (1 + np.exp(-np.clip(across / self.rng.uniform(8, 60), -20, 20)))
        return 1 - self.rng.uniform(*strength.shadow) * edge


def _inked(rng: Rng, known: KnownPage) -> np.ndarray:
    """Return clean colours in [0, 1] as printed: black lifted and ink a little paler."""
    paper = known.paper / np.float32(255)
    strength, black = rng.uniform(0.88, 1), rng.uniform(0, 0.08)
    return black * paper + (1 - black) * (paper - (paper - _shares(known.pixels)) * strength)


def _through(rng: Rng, back: np.ndarray, shape: tuple[int, int], strength: Strength) -> np.ndarray:
    """Return the share of light that the mirrored back page leaves, (H, W, 3)."""
    fitted = np.ones((*shape, 3), np.float32)
    rows = min(shape[0], len(back))
    fitted[:rows] = back[:rows, ::-1] / back.max(axis=(0, 1))
    return 1 - (1 - cv2.GaussianBlur(fitted, (0, 0), 1.6)) * rng.uniform(*strength.show_through)


def _white(rng: Rng, known: KnownPage, strength: Strength) -> np.ndarray:
    """Return the colour in which white appears: aged paper for white paper, almost white for coloured paper."""
    drift = np.clip(rng.normal(0, 0.012, 3), -0.025, 0.025)
    if known.paper.min() < 255:
        return rng.uniform(0.94, 1) * (1 + drift)
    return palette.choose_aged(rng, rng.uniform(*strength.tone)) * (1 + drift)


def _kernel(rng: Rng, known: KnownPage, strength: Strength) -> np.ndarray:
    span = strength.hard_blur if known.kind in HARD_TO_READ else strength.blur
    radius = rng.uniform(*span) * known.glyph_height
    return degrade.defocus_kernel(radius) if rng.random() < 0.7 else degrade.motion_kernel(rng, 2 * radius)


def _blurred(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    bgr = np.ascontiguousarray(_uint8(image)[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _shares(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255)


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
