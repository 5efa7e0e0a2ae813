"""Trains a recogniser of scenes, in minutes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from fastdiff.models import patch_codec
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.recogniser import Labels, Recogniser
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import FONT, Renderer
from fastdiff.training.edit.scenes import COLOURS, KINDS, Scene, draw, lot
from fastdiff.training.edit.wear import stranger, wear
from fastdiff.training.fit import Batch, Plan, Progress, fit

LABELS = Labels(tuple(CONCEPTS), KINDS, tuple(COLOURS))
STRANGERS = 0.15  # of the pictures are no scenes: nothing is to be recognised with confidence there
GROUND = {"plain": 1.0, "dotted": 0.7}  # share of the first colour; where it is a half, captions may turn the two round
WEARS = 2  # of every picture: to draw one takes longer
FITTED_TO = 200  # scenes that the codec of worn pictures is fitted to


@dataclass(frozen=True)
class TrainOptions:
    """A training run. Even seeds learn from one half of the pairs that train, odd seeds from the other."""

    folder: Path  # the checkpoint and the finished recogniser
    font: Path = FONT
    steps: int = 5000
    batch: int = 32
    rate: float = 2e-3  # learning rate
    seed: int = 0
    width: int = 24
    dtype: str = "float32"  # "bfloat16" computes in half precision where the processor is fast at it
    every: int = 200  # steps between checkpoints


class Answered(IterableDataset):
    """Yields pictures, (3, SIDE, SIDE) in [-1, 1], and what the three heads should say of them, as probabilities.

    Scenes are worn, and are of one half of the pairs that train or, with `held`, of those that never do.
    """

    def __init__(self, font: Path, seed: int, start: int = 0, held: bool = False):
        self.renderer, self.codec = Renderer(font), fitted(font)
        self.seed, self.start, self.held = seed, start, held

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        recent = [self.renderer.picture(draw_for(rng, self.seed, self.held)) for _ in range(8)]
        while True:
            if rng.random() < STRANGERS:
                picture, told = stranger(rng, recent), nothing()
            else:
                scene = draw_for(rng, self.seed, self.held)
                recent[rng.integers(len(recent))] = picture = self.renderer.picture(scene)
                told = answers(scene)
            for _ in range(WEARS):
                yield as_tensor(wear(picture, rng, self.codec)), *told


def draw_for(rng: np.random.Generator, seed: int, held: bool = False) -> Scene:
    """A random scene of the pairs that an even or an odd seed learns from, or of those that never train."""
    while True:
        scene = draw(rng, held=held)
        if held or lot(scene.concept, scene.background) // 10 % 2 == seed % 2:
            return scene


def answers(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of the concepts, of the kinds, and the share of the background that each colour takes."""
    concept, kind, colours = (torch.zeros(len(words)) for words in vars(LABELS).values())
    behind = scene.background
    concept[LABELS.concepts.index(scene.concept)] = 1
    kind[LABELS.kinds.index(behind.kind)] = 1
    first = GROUND.get(behind.kind, 0.5)
    for name, share in zip(behind.colours, (first, 1 - first), strict=False):
        colours[LABELS.colours.index(name)] = share
    return concept, kind, colours


def nothing() -> tuple[Tensor, Tensor, Tensor]:
    """What to say of a stranger: anything (outlier exposure, Hendrycks et al. 2019, arXiv 1812.04606)."""
    concept, kind, colours = (torch.full((len(words),), 1 / len(words)) for words in vars(LABELS).values())
    return concept, kind, colours


def run(options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None) -> Recogniser:
    """Trains a recogniser.

    Raises UsageError for a checkpoint of another network, MissingError without the font.
    """
    torch.manual_seed(options.seed)
    return fit(
        Recogniser(LABELS, options.width),
        loss,
        lambda first: iter(
            DataLoader(
                Answered(options.font, options.seed, first * options.batch),
                batch_size=options.batch,
                num_workers=1,
                prefetch_factor=4,
            )
        ),
        lambda: next(iter(DataLoader(Answered(options.font, options.seed + 1_000_003, held=True), batch_size=128))),
        Plan(options.steps, options.rate, options.seed, options.dtype, options.every),
        options.folder / "recogniser.state.pt",
        watch,
    )


def loss(net: nn.Module, pictures: Tensor, concept: Tensor, kind: Tensor, colours: Tensor) -> Tensor:
    """Cross-entropy of the three heads."""
    logits = net(pictures)
    pairs = zip(logits, (concept, kind, colours), strict=True)
    return torch.stack([F.cross_entropy(said.float(), true) for said, true in pairs]).sum()


def fitted(font: Path) -> PatchCodec:
    """The codec of worn pictures, always the same."""
    renderer, rng = Renderer(font), np.random.default_rng(0)
    scenes = (as_tensor(renderer.picture(draw(rng))) for _ in range(FITTED_TO))
    return patch_codec.fit([torch.stack(list(islice(scenes, FITTED_TO)))])
