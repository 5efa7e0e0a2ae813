"""An endless stream of scenes as pictures with tokens of their captions."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from fastdiff.training.edit.backbone import LONGEST
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Scene, draw

EMPTY = 0.1  # of the captions say nothing: these teach what guidance is measured against
NAMED = 0.15  # of them name the concept alone


class Scenes(IterableDataset):
    """Yields pictures, (3, SIDE, SIDE) in [-1, 1], and tokens, (LONGEST,); a seed and a start fix the whole stream.

    Poses widen from `start` on, counted in scenes, until `widening` scenes were drawn. Held-out pairs never come, or
    with `held` nothing else does.
    """

    def __init__(
        self,
        font: Path,
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        start: int = 0,
        widening: int = 0,
        held: bool = False,
    ):
        self.renderer, self.tokenizer = Renderer(font), tokenizer
        self.seed, self.start, self.widening, self.held = seed, start, widening, held

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        drawn = self.start
        while True:
            spread = 1.0 if drawn >= self.widening else 0.2 + 0.8 * drawn / self.widening
            scene = draw(rng, spread, self.held)
            yield as_tensor(self.renderer.picture(scene)), self.tokens(_told(scene, rng.random()))
            drawn += 1

    def tokens(self, caption: str) -> Tensor:
        return self.tokenizer(caption, padding="max_length", max_length=LONGEST, return_tensors="pt").input_ids[0]


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(picture).movedim(-1, 0) / 127.5 - 1


def _told(scene: Scene, chance: float) -> str:
    if chance < EMPTY:
        return ""
    return scene.concept if chance < EMPTY + NAMED else scene.caption
