"""An endless stream of squares cut from photographs at every scale."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

SIDE = 192  # pixels of a square
LEAST = 160  # pixels of a photograph that become a square, at the fewest
HELD_OUT = 10  # one photograph in so many never trains


class Squares(IterableDataset):
    """Yields squares (3, SIDE, SIDE) in [-1, 1]; a seed and a start, counted in squares, fix the whole stream.

    A square is any part of any photograph, mirrored half of the time, a little brighter, darker, paler or warmer.
    """

    def __init__(self, photos: Sequence[np.ndarray], seed: int, start: int = 0):
        self.photos, self.seed, self.start = photos, seed, start

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        while True:
            square = _cut(self.photos[int(rng.integers(len(self.photos)))], rng)
            yield (torch.from_numpy(_tinted(square, rng)).movedim(-1, 0),)


def parted(photos: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Photographs that train, and those that never do."""
    return [p for i, p in enumerate(photos) if i % HELD_OUT], [p for i, p in enumerate(photos) if not i % HELD_OUT]


def _cut(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = photo.shape[:2]
    side = int(np.exp(rng.uniform(np.log(LEAST), np.log(min(height, width)))))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = cv2.resize(photo[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return square[:, ::-1] if rng.random() < 0.5 else square


def _tinted(square: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Floats in [-1, 1] of a square in uint8, with another gain for each colour, gamma and saturation."""
    value = (square.astype(np.float32) / 255) ** np.float32(rng.uniform(0.8, 1.25))
    grey = value.mean(-1, keepdims=True)
    value = grey + (value - grey) * np.float32(rng.uniform(0.6, 1.3))
    value *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    return np.clip(2 * value - 1, -1, 1)
