"""An endless stream of (degraded, clean) colour patches, cut from a pool of clean pages (see `colour_pool`)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.colour_degrade import Scene, choose_white, degrade_colour
from fastdiff.training.docclean.colour_page import CONTENT
from fastdiff.training.docclean.colour_pool import open_pool
from fastdiff.training.docclean.dataset import MARGIN

Rng = np.random.Generator

LEAST_PAPER = 0.03  # share of a patch; with less paper, a plain grey area looks like grey paper
PLAIN = 0.04  # standard deviation of a plain area
MISSED = 0.06  # share of patches of white paper on whose page no paper was found
LEFT = 0.6  # most of the uneven light that stays on an evened-out page
GREY = 0.1  # chroma below which an area counts as neutral


@dataclass(frozen=True)
class ColourMixture:
    """The frequency of each profile of `degrade_colour`, the side of a patch, and the share of evenly lit ones.

    The application evens out the light of a page before the network sees it, but fails on some pages.
    """

    side: int = 192
    profiles: dict[str, float] = field(
        default_factory=lambda: {"scan": 0.32, "phone": 0.14, "stain": 0.27, "archive": 0.13, "clean": 0.14}
    )
    evened: float = 0.7


@dataclass(frozen=True)
class Sample:
    """A pair, float32 (side, side, 3), with its page's kind and its profile; clean paper is 1."""

    degraded: np.ndarray
    clean: np.ndarray
    kind: str
    profile: str

    @property
    def content(self) -> np.ndarray:
        """The pixels with print or drawing on them, bool (side, side)."""
        return self.clean.min(axis=-1) < 1 - CONTENT


class ColourPatches(IterableDataset):
    """Yields (degraded, clean) float32 tensors (3, side, side); a seed and a start fix the whole stream.

    The clean patch is in [0, 1] on white paper. The degraded one is divided by the colour of its paper, as the
    application measures it on the page: brighter places are above 1.
    """

    def __init__(self, folder: Path, mixture: ColourMixture, seed: int, start: int = 0):
        self.folder, self.mixture, self.seed, self.start = folder, mixture, seed, start
        self.bank = textures.cached_bank(seed)  # made here: a forked worker need not make it again

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for sample in self.samples():
            pair = np.stack([sample.degraded, sample.clean]).transpose(0, 3, 1, 2)
            degraded, clean = torch.from_numpy(np.ascontiguousarray(pair, np.float32))
            yield degraded, clean

    def samples(self) -> Iterator[Sample]:
        """Yield the same stream with the kind and profile of each pair."""
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        pool = open_pool(self.folder)
        names, chances = list(self.mixture.profiles), list(self.mixture.profiles.values())
        inner = slice(MARGIN, MARGIN + self.mixture.side)
        while True:
            profile = str(rng.choice(names, p=np.array(chances) / sum(chances)))
            index, behind = rng.integers(len(pool.pages), size=2)
            paper = pool.papers[index] / np.float32(255)
            neutral = bool(paper.min() == 1)
            clean, zoom = self.cut(rng, pool.pages[index])
            on_white = np.minimum(clean[inner, inner] / paper, 1)
            if is_undecidable(on_white):
                continue
            back, _ = self.cut(rng, pool.pages[behind])
            light = float(rng.uniform(0, LEFT)) if rng.random() < self.mixture.evened else 1.0
            white = choose_white(rng, neutral, profile)
            scene = Scene(back, float(pool.x_heights[index]) * zoom, self.bank, white, light)
            image = degrade_colour(rng, clean, scene, profile)[inner, inner]
            found = measure_with_error(rng, scene.white * paper, missable=neutral)
            yield Sample(image / found, on_white, pool.kinds[index], profile)

    def cut(self, rng: Rng, page: np.ndarray) -> tuple[np.ndarray, float]:
        """Cut a random piece of a page; return it zoomed, float32 (side, side, 3), and the zoom."""
        side = self.mixture.side + 2 * MARGIN
        zoom = float(rng.uniform(0.7, 1.25)) if rng.random() < 0.7 else 1.0
        reach = min(int(np.ceil(side / zoom)), page.shape[0])
        top, left = rng.integers(0, page.shape[0] - reach + 1, 2)
        piece = np.asarray(page[top : top + reach, left : left + reach])
        if zoom != 1:
            interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
            piece = cv2.resize(piece, (side, side), interpolation=interpolation)
        return piece.astype(np.float32) / 255, zoom


def measure_with_error(rng: Rng, paper: np.ndarray, missable: bool) -> np.ndarray:
    """Simulate `paper.measure_paper` for the true paper (3,): a small error, or missed paper, taken for white."""
    if missable and rng.random() < MISSED:
        return np.ones(3, np.float32)
    return (paper * rng.normal(1, 0.04) * rng.normal(1, 0.008, 3)).astype(np.float32)


def is_undecidable(clean: np.ndarray) -> bool:
    """True if a patch (side, side, 3) is a plain and nearly grey area without paper.

    After degradation it looks like paper that should become white.
    """
    paper = np.mean(clean.min(axis=-1) > 1 - CONTENT)
    plain = clean.mean(axis=-1).std() < PLAIN
    chroma = np.ptp(clean.mean(axis=(0, 1)))
    return bool(paper < LEAST_PAPER and plain and chroma < GREY and clean.mean() > 0.4)
