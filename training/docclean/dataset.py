"""An endless stream of (degraded, clean) patches, cut from a pool of clean pages (see `pool`)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.degrade import degrade

MARGIN = 24  # pixels around a patch that optics may blur into it
KEEP_GREY = ("clean", "blur")  # profiles whose grey ink stays grey; elsewhere it has faded and should become black


@dataclass(frozen=True)
class Mixture:
    """The frequency of each profile of `degrade`, and the side of a patch in pixels."""

    side: int = 128
    profiles: dict[str, float] = field(
        default_factory=lambda: {"stain": 0.35, "archive": 0.36, "blur": 0.05, "scan": 0.12, "clean": 0.12}
    )


MIXTURES = {
    "clean": Mixture(),
    "deblur": Mixture(profiles={"blur": 0.72, "scan": 0.16, "stain": 0.06, "clean": 0.06}),
}


class Patches(IterableDataset):
    """Yields (degraded, clean) float32 tensors (1, side, side) in [0, 1]; a seed and a start fix the whole stream."""

    def __init__(self, folder: Path, mixture: Mixture, seed: int, start: int = 0):
        self.folder, self.mixture, self.seed, self.start = folder, mixture, seed, start
        self.bank = textures.cached_bank(seed)  # made here: a forked worker need not make it again

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        pages = np.load(self.folder / "pages.npy", mmap_mode="r")
        x_heights = np.load(self.folder / "x_heights.npy")
        names, chances = list(self.mixture.profiles), list(self.mixture.profiles.values())
        inner = slice(MARGIN, MARGIN + self.mixture.side)
        while True:
            profile = str(rng.choice(names, p=np.array(chances) / sum(chances)))
            clean, x_height = self.cut(rng, pages, x_heights, small=profile == "blur" and rng.random() < 0.7)
            if profile not in KEEP_GREY and clean.min() < 0.5:
                clean = (clean - clean.min()) / (1 - clean.min())
            if rng.random() < 0.04:
                clean = np.ones_like(clean)  # an empty page has to stay empty
            back, _ = self.cut(rng, pages, x_heights, small=False)
            image = degrade(rng, clean, back, x_height, self.bank, profile)
            pair = np.stack([image[inner, inner], clean[inner, inner]])[:, None]
            degraded, target = torch.from_numpy(np.ascontiguousarray(pair, np.float32))
            yield degraded, target

    def cut(self, rng, pages: np.ndarray, x_heights: np.ndarray, small: bool) -> tuple[np.ndarray, float]:
        """Cut a random piece of a random page, zoomed and slightly turned, float32; return it and its x-height.

        `small` draws the 6 to 12 pixels at which blur destroys text.
        """
        side = self.mixture.side + 2 * MARGIN
        index = int(rng.integers(len(pages)))
        x_height = float(x_heights[index])
        zoom = rng.uniform(5.5, 12) / x_height if small else rng.uniform(0.7, 1.25)
        zoom = float(np.clip(zoom, side / (pages.shape[1] - 2), 1.5))
        reach = int(np.ceil(side / zoom))
        top, left = rng.integers(0, pages.shape[1] - reach, 2)
        piece = np.asarray(pages[index, top : top + reach, left : left + reach])
        interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        piece = cv2.resize(piece, (side, side), interpolation=interpolation).astype(np.float32) / 255
        if rng.random() < 0.2:
            turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 2), 1)
            piece = cv2.warpAffine(piece, turn, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        crisp = rng.uniform(1, 1.8)  # as in hinted letters: the cores of thin strokes are black
        return np.clip((piece - 0.5) * crisp + 0.5, 0, 1), x_height * zoom
