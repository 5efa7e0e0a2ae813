"""What all distillations of a diffusion model to few steps have in common: their options and their teacher."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastdiff.models import fingerprint
from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.hooks import blocks
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.pixart import PixArt
from fastdiff.models.registry import load_editable
from fastdiff.models.stable_diffusion import StableDiffusion
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import DiscreteVP
from fastdiff.training.fit import Plan


@dataclass(frozen=True, kw_only=True)
class DistillationPlan(Plan):
    """The options of a distillation."""

    folder: Path  # the checkpoint and the finished adapter
    model: str
    guidance: float = 4.0  # the teacher's scale
    batch: int = 32
    compile: bool = False  # compile the blocks of the network: needs a C++ compiler

    def key(self, *others: object) -> str:
        """Return a name of what a checkpoint holds: another model, guidance, seed or `others` begins anew."""
        chosen = (fingerprint.of_folder(self.model), self.guidance, *others, self.seed)
        return hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]


def load_teacher(plan: DistillationPlan) -> LatentDiffusionModel:
    """Load the model of a distillation. Raises UsageError for one of another family, and as `load_editable`."""
    model = load_editable(plan.model, plan.device)
    if (
        not isinstance(model, PixArt | StableDiffusion)
        or model.guidance_kind != "classifier-free"
        or model.empty_prompt.pooled is not None
    ):
        raise UsageError(f"{model.name} cannot be distilled: give a model of PixArt or Stable Diffusion 1 or 2")
    return model


def prepare(network: Any, plan: DistillationPlan) -> None:
    """Choose the attention that is fast on the device, and compile the blocks where the plan wants it."""
    if plan.device == "cpu" and hasattr(network, "set_default_attn_processor"):
        network.set_default_attn_processor()  # in bfloat16 a third faster there than fused attention
    if plan.compile:
        for block in blocks(network):
            block.module.compile()


def trained_schedule(model: LatentDiffusionModel) -> DiscreteVP:
    """Return the schedule of a teacher."""
    schedule = model.trained.schedule
    assert isinstance(schedule, DiscreteVP)  # of both families
    return schedule


def conditioning(embeddings: Tensor, mask: Tensor) -> Conditioning:
    """Return encoded prompts (B, L, D), (B, L) as the conditioning of a network."""
    nothing = ((),) * len(mask)
    return Conditioning(embeddings, mask, nothing, nothing, ("",) * len(mask))


def pseudo_huber(error: Tensor, width: float = 1e-3) -> Tensor:
    """Return the mean pseudo-Huber distance: squared below `width`, and absolute above it."""
    return ((error.square() + width**2).sqrt() - width).mean()
