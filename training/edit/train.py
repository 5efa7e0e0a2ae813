"""Trains the backbone of `fastdiff edit`; a stopped run resumes from its last checkpoint."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fastdiff.models import patch_codec
from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.json_file import read_object
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.pixart import PixArt
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError
from fastdiff.training.edit.backbone import Backbone, tokenizer
from fastdiff.training.edit.dataset import LatentCache, SceneEncoder, as_tensor
from fastdiff.training.edit.render import Renderer, emoji_font
from fastdiff.training.edit.scenes import SIDE, draw
from fastdiff.training.fit import Batch, Plan, Progress, fit
from fastdiff.training.velocity import component_weight, encode, scheduler, velocity_loss

FITTED_TO = 1000  # scenes that a patch codec is fitted to
HELD_OUT = 128  # scenes of pairs that never train
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A training run."""

    decay: ClassVar[float] = 0.9995
    folder: Path  # the checkpoint, the codec and the finished backbone
    font: Path = field(default_factory=emoji_font)
    steps: int = 60_000
    batch: int = 32
    rate: float = 1e-3  # learning rate of embeddings, biases and the first and the last layer
    shared_labels: int = 0  # label, of a thousand, below which five conditions are shared (E-TSDM, arXiv 2306.11251)
    widening: int = 10_000  # new scenes in which poses widen to their full range
    codec: Path | None = None  # folder of a trained codec; without it, a patch codec is fitted
    start_from: Path | None = None  # a finished backbone to begin with, as `pack` writes it
    compile: bool = False  # compile the blocks of the transformer: needs a C++ compiler


@dataclass(frozen=True)
class Trained:
    """The parts of a finished backbone."""

    backbone: Backbone
    codec: PatchCodec | ConvCodec
    tokenizer: PreTrainedTokenizerFast
    scheduler: DPMSolverMultistepScheduler


def run(options: TrainOptions, on_progress: Callable[[Progress], None] = lambda progress: None) -> Trained:
    """Trains a backbone.

    Raises UsageError for a checkpoint or a beginning of another network, MissingError without the font.
    """
    torch.manual_seed(options.seed)
    words, schedule = tokenizer(), scheduler(options.shared_labels)
    start = _load_start(options.start_from) if options.start_from else None
    codec = _codec(options, start)
    shape = encode(codec, torch.zeros(1, 3, SIDE, SIDE)).shape[1:]
    net = Backbone(len(words), shape[0], shape[1])
    if start:
        _load_weights(net, start)
    if options.device == "cpu":
        net.transformer.set_default_attn_processor()  # in bfloat16 a third faster there than fused attention
    if options.compile:
        for block in net.transformer.transformer_blocks:
            block.compile()

    def batches(first: int) -> Iterator[Batch]:
        encoder = SceneEncoder(options.font, codec, words, (options.seed, first))
        cache = LatentCache(options.folder / "latents", encoder, tuple(shape))
        return cache.batches(options.batch, 0 if options.start_from else options.widening)

    def held_out() -> Batch:
        encoder = SceneEncoder(options.font, codec, words, (options.seed + HELD_OUT_SEED,))
        latents, tokens, _ = encoder(HELD_OUT, held=True)
        return latents, tokens

    average = fit(
        net,
        velocity_loss(schedule.alphas_cumprod, options.shared_labels, _weight(codec)),
        batches,
        held_out,
        options,
        options.folder / "backbone.state.pt",
        on_progress,
        net.matrices(),
    )
    return Trained(average, codec, tokenizer(), schedule)  # a new one: encoding sets padding


def _codec(options: TrainOptions, start: PixArt | None) -> PatchCodec | ConvCodec:
    """The codec that the run began with, else that of the options or of the backbone it begins with, else a new one."""
    folder = options.folder / "codec"
    if not folder.exists():
        _first_codec(options, start).save_pretrained(folder)
    return _loaded_codec(folder)


def _first_codec(options: TrainOptions, start: PixArt | None) -> PatchCodec | ConvCodec:
    if start:
        return start.vae
    if options.codec:
        return _loaded_codec(options.codec)
    renderer, rng = Renderer(options.font), np.random.default_rng(options.seed)
    return patch_codec.fit([torch.stack([as_tensor(renderer.picture(draw(rng))) for _ in range(FITTED_TO)])])


def _loaded_codec(folder: Path) -> PatchCodec | ConvCodec:
    try:
        name = read_object(folder / "config.json").get("_class_name")
        kind = {kind.__name__: kind for kind in (PatchCodec, ConvCodec)}[name]
        codec = kind.from_pretrained(folder, low_cpu_mem_usage=False).eval().requires_grad_(False)
    except (KeyError, OSError) as error:
        raise UsageError(f"{folder} is no codec of scenes: give a folder that `fastdiff train codec` wrote") from error
    return codec


def _weight(codec: PatchCodec | ConvCodec) -> Tensor | None:
    return component_weight(codec) if isinstance(codec, PatchCodec) else None


def _load_start(folder: Path) -> PixArt:
    start = load_editable(str(folder))
    if not isinstance(start, PixArt) or not isinstance(start.vae, PatchCodec | ConvCodec):
        raise UsageError(f"{folder} is no backbone of scenes: give a folder that an earlier run packed")
    return start


def _load_weights(net: Backbone, start: PixArt) -> None:
    try:
        net.transformer.load_state_dict(start.network.state_dict())
        net.text_encoder.load_state_dict(start.text_encoder.state_dict())
    except RuntimeError as error:
        raise UsageError(f"the networks of {start.name} are of another size, or know other words") from error
