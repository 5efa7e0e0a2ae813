"""Trains a SpeedUpNet: negative prompts and four steps without guidance (Chai et al. 2023, arXiv 2312.08887)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.speedup.adapter import SpeedUpNet, begin_speedup
from fastdiff.training.distillation.examples import Examples
from fastdiff.training.distillation.plan import DistillationPlan, prepare, trained_schedule
from fastdiff.training.fit import Progress, fit
from fastdiff.training.speedup.loss import SpeedUpLoss


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DistillationPlan):
    """A distillation to a SpeedUpNet."""

    decay: ClassVar[float] = 0.99
    rate: float = 3e-3  # of 1e-3 to 1.2e-2, this and 6e-3 fell fastest over 40 steps of 16


def run(
    options: TrainOptions,
    model: LatentDiffusionModel,
    examples: Examples,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> SpeedUpNet:
    """Return the averaged adapter, on the CPU. Raises UsageError as `fit` does."""
    torch.manual_seed(options.seed)
    prepare(model.network, options)
    model.network.requires_grad_(False)
    with torch.no_grad():
        empty = model.empty_prompt
    size = (model.resolution, model.resolution)
    loss = SpeedUpLoss(model, trained_schedule(model), options.guidance, empty, size)
    checkpoint = options.folder / f"speedup-{options.key()}.state.pt"
    return fit(
        begin_speedup(model.network), loss, examples.batches, examples.held_out, options, checkpoint, on_progress
    )
