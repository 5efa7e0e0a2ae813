"""Trains a recogniser of scenes, in minutes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit.augment import augment, outlier
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer, emoji_font
from fastdiff.training.edit.scenes import KINDS, Scene, draw, pair_hash
from fastdiff.training.fit import Batch, Plan, Progress, fit

LABELS = Labels(tuple(CONCEPTS), KINDS, tuple(COLOURS))
OUTLIERS = 0.15  # share of pictures that are no scenes; their labels are uniform
FIRST_COLOUR_SHARE = {"plain": 1.0, "dotted": 0.7}  # 0.5 elsewhere: captions name either colour first
AUGMENTATIONS = 2  # of every picture: rendering takes longer
HELD_OUT_SEED = 1_000_003
FITTED_TO = 200  # scenes that the codec of the augmentation is fitted to


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A training run. Even seeds learn from one half of the pairs that train, odd seeds from the other."""

    folder: Path  # the checkpoint and the finished recogniser
    font: Path = field(default_factory=emoji_font)
    steps: int = 5000
    batch: int = 32
    rate: float = 2e-3  # learning rate
    width: int = 24


class LabelledScenes(IterableDataset):
    """Yields augmented pictures, (3, SIDE, SIDE) in [-1, 1], and target probabilities of the three heads.

    Scenes are of one half of the pairs that train or, with `held`, of held-out pairs.
    """

    def __init__(self, font: Path, seed: int, start: int = 0, held: bool = False):
        self.renderer, self.codec = Renderer(font), fitted_codec(font)
        self.seed, self.start, self.held = seed, start, held

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0])
        recent = [self.renderer.picture(draw_for(rng, self.seed, self.held)) for _ in range(8)]
        while True:
            if rng.random() < OUTLIERS:
                picture, labels = outlier(rng, recent), uniform_labels()
            else:
                scene = draw_for(rng, self.seed, self.held)
                recent[rng.integers(len(recent))] = picture = self.renderer.picture(scene)
                labels = labels_of(scene)
            for _ in range(AUGMENTATIONS):
                yield as_tensor(augment(picture, rng, self.codec)), *labels


def draw_for(rng: np.random.Generator, seed: int, held: bool = False) -> Scene:
    """A random scene of the half of the training pairs that belongs to even or odd seeds, or of held-out pairs."""
    while True:
        scene = draw(rng, held=held)
        if held or pair_hash(scene.concept, scene.background) // 10 % 2 == seed % 2:
            return scene


def labels_of(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of the concepts, of the kinds, and the share of the background that each colour takes."""
    concept, kind, colours = (torch.zeros(len(words)) for words in vars(LABELS).values())
    behind = scene.background
    concept[LABELS.concepts.index(scene.concept)] = 1
    kind[LABELS.kinds.index(behind.kind)] = 1
    first = FIRST_COLOUR_SHARE.get(behind.kind, 0.5)
    for name, share in zip(behind.colours, (first, 1 - first), strict=False):
        colours[LABELS.colours.index(name)] = share
    return concept, kind, colours


def uniform_labels() -> tuple[Tensor, Tensor, Tensor]:
    """Target probabilities of an outlier (outlier exposure, Hendrycks et al. 2019, arXiv 1812.04606)."""
    concept, kind, colours = (torch.full((len(words),), 1 / len(words)) for words in vars(LABELS).values())
    return concept, kind, colours


def run(options: TrainOptions, on_progress: Callable[[Progress], None] = lambda progress: None) -> Recogniser:
    """Trains a recogniser.

    Raises UsageError for a checkpoint of another network, MissingError without the font.
    """
    torch.manual_seed(options.seed)
    return fit(
        Recogniser(LABELS, options.width),
        loss,
        lambda first: iter(
            DataLoader(
                LabelledScenes(options.font, options.seed, first * options.batch),
                batch_size=options.batch,
                num_workers=1,
                prefetch_factor=4,
            )
        ),
        lambda: next(iter(DataLoader(LabelledScenes(options.font, options.seed + HELD_OUT_SEED, held=True), 128))),
        options,
        options.folder / "recogniser.state.pt",
        on_progress,
    )


def loss(net: nn.Module, pictures: Tensor, concept: Tensor, kind: Tensor, colours: Tensor) -> Tensor:
    """Cross-entropy of the three heads."""
    logits = net(pictures)
    pairs = zip(logits, (concept, kind, colours), strict=True)
    return torch.stack([F.cross_entropy(output.float(), target) for output, target in pairs]).sum()


def fitted_codec(font: Path) -> PatchCodec:
    """The codec of the augmentation, always the same."""
    renderer, rng = Renderer(font), np.random.default_rng(0)
    scenes = (as_tensor(renderer.picture(draw(rng))) for _ in range(FITTED_TO))
    return patch_codec.fit([torch.stack(list(islice(scenes, FITTED_TO)))])
