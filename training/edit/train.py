"""Trains the backbone of `fastdiff edit`; a run can be stopped and goes on from its last checkpoint."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from fastdiff.models import patch_codec
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.pixart import PixArt
from fastdiff.models.registry import load_transformer
from fastdiff.solvers.errors import UsageError
from fastdiff.training.edit.backbone import Backbone, tokenizer
from fastdiff.training.edit.dataset import Scenes
from fastdiff.training.edit.render import FONT
from fastdiff.training.edit.scenes import SIDE
from fastdiff.training.fit import Batch, Plan, Progress, fit
from fastdiff.training.velocity import scheduler, velocity_loss

FITTED_TO = 1000  # scenes that the codec is fitted to


@dataclass(frozen=True)
class TrainOptions:
    """A training run."""

    folder: Path  # the checkpoint, the codec and the finished backbone
    font: Path = FONT
    steps: int = 60_000
    batch: int = 32
    rate: float = 1e-3  # learning rate
    seed: int = 0
    dtype: str = "float32"  # "bfloat16" computes in half precision where the processor is fast at it
    every: int = 200  # steps between checkpoints
    shared_labels: int = 0  # label, of a thousand, below which five conditions are shared (E-TSDM, arXiv 2306.11251)
    widening: float = 0.15  # share of a run from nothing in which the poses of the scenes widen to their full range
    start_from: Path | None = None  # a finished backbone to begin with, as `pack` writes it


@dataclass(frozen=True)
class Trained:
    """The parts of a finished backbone."""

    backbone: Backbone
    codec: PatchCodec
    tokenizer: PreTrainedTokenizerFast
    scheduler: DPMSolverMultistepScheduler


def run(options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None) -> Trained:
    """Trains a backbone.

    Raises UsageError for a checkpoint or a beginning of another network, MissingError without the font.
    """
    torch.manual_seed(options.seed)
    words, schedule = tokenizer(), scheduler(options.shared_labels)
    start = _beginning(options.start_from) if options.start_from else None
    codec = _codec(options, words, start)
    net = Backbone(len(words), len(codec.deviation), SIDE // codec.patch)
    if start:
        _begin_with(net, start)
    net.transformer.set_default_attn_processor()  # on processors, in bfloat16, a third faster than fused attention
    average = fit(
        net,
        velocity_loss(codec, schedule.alphas_cumprod, options.shared_labels),
        lambda first: _batches(options, words, first),
        lambda: _held_out(options, words),
        Plan(options.steps, options.rate, options.seed, options.dtype, options.every, decay=0.9995),
        options.folder / "backbone.state.pt",
        watch,
    )
    return Trained(average, codec, words, schedule)


def _codec(options: TrainOptions, words: PreTrainedTokenizerFast, start: PixArt | None) -> PatchCodec:
    """The codec that the run began with, else that of the backbone it begins with, else a new one."""
    folder = options.folder / "codec"
    if not folder.exists():
        scenes = islice(Scenes(options.font, words, options.seed), FITTED_TO)
        codec = start.vae if start else patch_codec.fit([torch.stack([picture for picture, _ in scenes])])
        codec.save_pretrained(folder)
    return PatchCodec.from_pretrained(folder)


def _beginning(folder: Path) -> PixArt:
    start = load_transformer(str(folder))
    if not isinstance(start, PixArt) or not isinstance(start.vae, PatchCodec):
        raise UsageError(f"{folder} is no backbone of scenes: give a folder that an earlier run packed")
    return start


def _begin_with(net: Backbone, start: PixArt) -> None:
    try:
        net.transformer.load_state_dict(start.network.state_dict())
        net.text_encoder.load_state_dict(start.text_encoder.state_dict())
    except RuntimeError as error:
        raise UsageError(f"the networks of {start.name} are of another size, or know other words") from error


def _held_out(options: TrainOptions, words: PreTrainedTokenizerFast) -> Batch:
    """128 scenes of pairs that never train."""
    scenes = Scenes(options.font, words, options.seed + 1_000_003, held=True)
    return next(iter(DataLoader(scenes, batch_size=128)))


def _batches(options: TrainOptions, words: PreTrainedTokenizerFast, first: int) -> Iterator[Batch]:
    widening = 0 if options.start_from else round(options.widening * options.steps * options.batch)
    scenes = Scenes(options.font, words, options.seed, first * options.batch, widening)
    return iter(DataLoader(scenes, batch_size=options.batch, num_workers=1, prefetch_factor=4))
