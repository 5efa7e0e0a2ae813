"""An endless stream of square crops of photographs at every scale."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

SIDE = 192  # pixels of a crop
LEAST = 160  # pixels of the smallest crop, before it is resized
HELD_OUT = 10  # one photograph in HELD_OUT is held out


class Crops(IterableDataset):
    """Yields crops (3, SIDE, SIDE) in [-1, 1]; a seed and a start, counted in crops, fix the whole stream.

    A crop is any part of any photograph, mirrored half of the time, with gamma, saturation and colours jittered.
    """

    def __init__(self, photos: Sequence[np.ndarray], seed: int, start: int = 0):
        self.photos, self.seed, self.start = photos, seed, start

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        while True:
            crop = _crop(self.photos[int(rng.integers(len(self.photos)))], rng)
            yield (torch.from_numpy(_colour_jittered(crop, rng)).movedim(-1, 0),)


def split(photos: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Photographs for training, and held-out ones."""
    return [p for i, p in enumerate(photos) if i % HELD_OUT], [p for i, p in enumerate(photos) if not i % HELD_OUT]


def _crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = photo.shape[:2]
    side = int(np.exp(rng.uniform(np.log(LEAST), np.log(min(height, width)))))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = cv2.resize(photo[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _colour_jittered(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop in uint8 as floats in [-1, 1], with random gamma, saturation and gain of each colour."""
    value = (crop.astype(np.float32) / 255) ** np.float32(rng.uniform(0.8, 1.25))
    grey = value.mean(-1, keepdims=True)
    value = grey + (value - grey) * np.float32(rng.uniform(0.6, 1.3))
    value *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    return np.clip(2 * value - 1, -1, 1)
