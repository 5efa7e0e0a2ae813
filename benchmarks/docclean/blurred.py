"""Pages with small letters, defocused or shaken, with sensor noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.docclean import pages
from benchmarks.docclean.application import Setup
from benchmarks.docclean.pages import TextPage
from fastdiff.apps.docclean.imaging import page_analysis
from fastdiff.training.docclean.degrade import defocus_kernel, motion_kernel

HEIGHTS = (9.0, 13.0)  # median glyph height in pixels
DEFOCUS = (0.2, 0.5)  # radius in glyph heights
MOTION = (0.5, 1.2)  # length in glyph heights
NOISE = 3.0  # standard deviation in grey levels
RENDERED = 30
SEED = 20_240_404
KINDS = ("defocus", "motion")


@dataclass(frozen=True)
class Blurred:
    """A blurred page, grey uint8, with the sharp page of the same size."""

    sharp: TextPage
    kind: str
    severity: float  # in glyph heights
    pixels: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.sharp.name}, {self.kind} {self.severity:.2f}"


def make(setup: Setup) -> list[Blurred]:
    """Return every rendered column and every document, once under each kind of blur."""
    columns = pages.rendered(setup.count(RENDERED), HEIGHTS, SEED)
    documents = pages.documents(setup.data, setup.limit)
    shrunk = [_shrunk(np.random.default_rng([SEED, index]), page) for index, page in enumerate(documents)]
    return [
        blur(np.random.default_rng([SEED, index, choice]), page, kind)
        for index, page in enumerate((*columns, *shrunk))
        for choice, kind in enumerate(KINDS)
    ]


def _shrunk(rng: np.random.Generator, page: TextPage) -> TextPage:
    """Return the page in grey, at a glyph height drawn from HEIGHTS."""
    grey = pages.grey(page.pixels)
    scale = rng.uniform(*HEIGHTS) / page_analysis.analyze(grey).glyph_height
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return TextPage(page.name, small, page.text, page.column)


def blur(rng: np.random.Generator, page: TextPage, kind: str) -> Blurred:
    """Blur a grey page by a kind of KINDS, as strongly as drawn for its glyphs, and add noise."""
    height = page_analysis.analyze(page.pixels).glyph_height
    severity = rng.uniform(*(DEFOCUS if kind == "defocus" else MOTION))
    kernel = defocus_kernel(severity * height) if kind == "defocus" else motion_kernel(rng, severity * height)
    soft = cv2.filter2D(page.pixels.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    noisy = soft + rng.normal(0, NOISE, soft.shape)
    return Blurred(page, kind, severity, np.clip(np.round(noisy), 0, 255).astype(np.uint8))
