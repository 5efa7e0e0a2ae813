"""Distils a LoRA that samples in one to eight steps (LCM-LoRA, Luo et al. 2023, arXiv 2311.05556)."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from peft import PeftModel

from fastdiff.models import fingerprint
from fastdiff.models.hooks import blocks
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.pixart import PixArt
from fastdiff.models.registry import load_editable
from fastdiff.models.stable_diffusion import StableDiffusion
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.lcm import POINTS, consistency_points
from fastdiff.solvers.schedule import DiscreteVP
from fastdiff.training.fit import Batch, Plan, Progress, fit
from fastdiff.training.lcm.adapter import with_adapter
from fastdiff.training.lcm.consistency import ConsistencyLoss


class Examples(Protocol):
    """Where pictures and their prompts come from."""

    @property
    def description(self) -> str: ...

    def batches(self, first: int) -> Iterator[Batch]:
        """Latents (B, C, h, w), embeddings (B, L, D) and mask (B, L) of prompts, without end, from a step on."""
        ...

    def held_out(self) -> Batch:
        """The same of pictures that never train."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A distillation."""

    decay: ClassVar[float] = 0.99
    folder: Path  # the checkpoint and the finished adapter
    model: str
    guidance: float = 4.0  # the teacher's scale
    rank: int = 32  # of the LoRA
    rate: float = 1e-3
    batch: int = 32
    compile: bool = False  # compile the blocks of the network: needs a C++ compiler


def run(
    options: TrainOptions,
    model: LatentDiffusionModel,
    examples: Examples,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> PeftModel:
    """Return the averaged network with its adapter, on the CPU. Raises UsageError as `fit` does."""
    schedule = _schedule(model)
    torch.manual_seed(options.seed)
    if options.device == "cpu" and hasattr(model.network, "set_default_attn_processor"):
        model.network.set_default_attn_processor()  # in bfloat16 a third faster there than fused attention
    if options.compile:
        for block in blocks(model.network):
            block.module.compile()
    net = with_adapter(model.network, options.rank)
    size = (model.resolution, model.resolution)
    with torch.no_grad():
        empty = model.empty_prompt
    loss = ConsistencyLoss(model, schedule, options.guidance, empty, size, consistency_points(schedule, POINTS))
    checkpoint = options.folder / f"lcm-{_key(options)}.state.pt"
    trained: PeftModel = fit(net, loss, examples.batches, examples.held_out, options, checkpoint, on_progress)
    return trained


def load(options: TrainOptions) -> LatentDiffusionModel:
    """Load the model of a distillation. Raises UsageError for one of another family, and as `load_editable`."""
    model = load_editable(options.model, options.device)
    if (
        not isinstance(model, PixArt | StableDiffusion)
        or model.guidance_kind != "classifier-free"
        or model.empty_prompt.pooled is not None
    ):
        raise UsageError(f"{model.name} cannot be distilled: give a model of PixArt or Stable Diffusion 1 or 2")
    return model


def _key(options: TrainOptions) -> str:
    """Return a name of what a checkpoint holds: another model, guidance, rank or seed begins anew."""
    chosen = (fingerprint.of_folder(options.model), options.guidance, options.rank, options.seed)
    return hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]


def _schedule(model: LatentDiffusionModel) -> DiscreteVP:
    schedule = model.trained.schedule
    assert isinstance(schedule, DiscreteVP)  # of both families
    return schedule
