"""Trains the prior of `fastdiff attack`; a stopped run resumes from its last checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch.utils.data import DataLoader

from fastdiff.models import patch_codec
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.solvers.errors import UsageError
from fastdiff.training.fit import Batch, Plan, Progress, fit
from fastdiff.training.prior.dataset import SIDE, Crops, split
from fastdiff.training.prior.network import Network
from fastdiff.training.prior.photos import Photo, read
from fastdiff.training.velocity import component_weight, encode, scheduler, velocity_loss

FITTED_TO = 1000  # crops that the codec is fitted to


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A training run."""

    decay: ClassVar[float] = 0.9995
    folder: Path  # the checkpoint, the codec and the finished prior
    photos: tuple[Photo, ...]
    steps: int = 40_000
    batch: int = 16
    rate: float = 5e-4  # learning rate
    shared_labels: int = 0  # label, of a thousand, below which five conditions are shared (E-TSDM, arXiv 2306.11251)


@dataclass(frozen=True)
class Trained:
    """The parts of a finished prior."""

    network: Network
    codec: PatchCodec
    scheduler: DPMSolverMultistepScheduler


def run(options: TrainOptions, on_progress: Callable[[Progress], None] = lambda progress: None) -> Trained:
    """Trains a prior. Raises UsageError for a checkpoint of another network, and for fewer than two photographs."""
    torch.manual_seed(options.seed)
    photos, held_out = split(list(read(options.photos)))
    if not photos:
        raise UsageError("one photograph or none can be read and is large enough: at least two are needed")
    codec, schedule = _codec(options, photos), scheduler(options.shared_labels)
    average = fit(
        Network(len(codec.deviation), SIDE // codec.patch),
        velocity_loss(schedule.alphas_cumprod, options.shared_labels, component_weight(codec)),
        lambda first: ((encode(codec, crops),) for (crops,) in _batches(options, photos, first)),
        lambda: (encode(codec, next(_stacked(Crops(held_out, options.seed), 64))[0]),),
        options,
        options.folder / "prior.state.pt",
        on_progress,
    )
    return Trained(average, codec, schedule)


def _codec(options: TrainOptions, photos: Sequence[np.ndarray]) -> PatchCodec:
    """The codec of the run so far, else a new one."""
    folder = options.folder / "codec"
    if not folder.exists():
        crops = [crop for (crop,) in islice(Crops(photos, options.seed + 1_000_003), FITTED_TO)]
        patch_codec.fit([torch.stack(crops)]).save_pretrained(folder)
    return PatchCodec.from_pretrained(folder)


def _batches(options: TrainOptions, photos: Sequence[np.ndarray], first: int) -> Iterator[Batch]:
    return _stacked(Crops(photos, options.seed, first * options.batch), options.batch, workers=1)


def _stacked(crops: Crops, batch: int, workers: int = 0) -> Iterator[Batch]:
    return iter(DataLoader(crops, batch_size=batch, num_workers=workers, prefetch_factor=4 if workers else None))
