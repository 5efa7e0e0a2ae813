"""Trains the convolutional codec of `fastdiff edit`; a stopped run resumes from its last checkpoint."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer, emoji_font
from fastdiff.training.edit.scenes import draw
from fastdiff.training.fit import Batch, Plan, Progress, fit, noise_like

LATENT_NOISE = 0.6  # deviations: the largest noise that the decoder is trained to tolerate
GRADIENT_WEIGHT = 0.5
EMOJI_WEIGHT = 2.0  # of a pixel of the emoji; 1 for the background
CALIBRATION, CALIBRATION_BATCH = 1000, 50  # scenes that the statistics of the finished codec are measured on
POOL = 6000  # rendered scenes in memory
REUSE = 8  # batches that a scene of the pool is in, in the mean
SMALL_BATCHES = 3000  # steps of half the batch size before the full one


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A training run."""

    decay: ClassVar[float] = 0.9985
    folder: Path  # the checkpoint and, in `vae`, the finished codec
    font: Path = field(default_factory=emoji_font)
    steps: int = 100_000
    batch: int = 32
    rate: float = 1.5e-3  # learning rate


class ScenePool:
    """Random batches of rendered scenes with opacities of their emoji, most of them already rendered."""

    def __init__(self, font: Path, seed: int, size: int, held: bool = False):
        cv2.setNumThreads(1)
        self.renderer, self.held = Renderer(font), held
        self.rng = np.random.default_rng(seed)
        self.rows = [self._rendered() for _ in range(size)]

    def batch(self, size: int) -> Batch:
        """`size` pictures (B, 3, SIDE, SIDE) in [-1, 1] and opacities (B, 1, SIDE, SIDE) in [0, 1].

        One of REUSE scenes is rendered anew.
        """
        places = self.rng.choice(len(self.rows), size, replace=False)
        for place in places[: math.ceil(size / REUSE)]:
            self.rows[place] = self._rendered()
        pictures, opacities = zip(*(self.rows[place] for place in places), strict=True)
        return (
            torch.stack([as_tensor(picture) for picture in pictures]),
            torch.from_numpy(np.stack(opacities))[:, None] / 255,
        )

    def _rendered(self) -> tuple[np.ndarray, np.ndarray]:
        scene = draw(self.rng, held=self.held)
        return self.renderer.picture(scene), np.rint(255 * self.renderer.matte(scene)).astype(np.uint8)


def run(options: TrainOptions, on_progress: Callable[[Progress], None] = lambda progress: None) -> Path:
    """Trains a codec, writes it in half precision to `vae` and returns that folder.

    Raises UsageError for a checkpoint of another network, MissingError without the font.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    codec = fit(
        ConvCodec().to(memory_format=torch.channels_last),
        loss,
        lambda first: _batches(options, first),
        lambda: ScenePool(options.font, options.seed + 1_000_003, 128, held=True).batch(128),
        options,
        options.folder / "codec.state.pt",
        on_progress,
    )
    calibrate(codec, ScenePool(options.font, options.seed + 1, CALIBRATION))
    codec.half().save_pretrained(options.folder / "vae")
    return options.folder / "vae"


@torch.no_grad()
def calibrate(codec: ConvCodec, pool: ScenePool) -> None:
    """Set the statistics of the latents to those of batches of a pool: averaged weights have others."""
    norm = codec.normalization.train()
    norm.reset_running_stats()
    norm.momentum = None  # the mean over batches
    for _ in range(len(pool.rows) // CALIBRATION_BATCH):
        codec.encode(pool.batch(CALIBRATION_BATCH)[0])
    norm.eval()


def loss(net: ConvCodec, pictures: Tensor, opacities: Tensor) -> Tensor:
    """Mean absolute error of colours and of their gradients, the latents being noisy.

    The noise has a deviation between 0 and LATENT_NOISE, per picture.
    """
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    latents = net.encode(pictures).latent_dist.mode()
    deviation = LATENT_NOISE * torch.rand(len(pictures), 1, 1, 1).to(latents.device)
    error = net.decode(latents + deviation * noise_like(latents), return_dict=False)[0].float() - pictures
    weighted = (1 + (EMOJI_WEIGHT - 1) * opacities) * error.abs()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return weighted.mean() + GRADIENT_WEIGHT * edges


def _batches(options: TrainOptions, first: int) -> Iterator[Batch]:
    pool = ScenePool(options.font, options.seed + first, POOL)
    step = first
    while True:
        yield pool.batch(options.batch // 2 if step < SMALL_BATCHES else options.batch)
        step += 1
