"""Distils a LoRA that samples in one to eight steps (LCM-LoRA, Luo et al. 2023, arXiv 2311.05556)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from peft import PeftModel

from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.solvers.lcm import POINTS, consistency_points
from fastdiff.training.distillation.examples import Examples
from fastdiff.training.distillation.plan import DistillationPlan, prepare, trained_schedule
from fastdiff.training.fit import Progress, fit
from fastdiff.training.lcm.adapter import with_adapter
from fastdiff.training.lcm.consistency import ConsistencyLoss


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DistillationPlan):
    """A distillation to a LoRA."""

    decay: ClassVar[float] = 0.99
    rank: int = 32  # of the LoRA
    rate: float = 1e-3


def run(
    options: TrainOptions,
    model: LatentDiffusionModel,
    examples: Examples,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> PeftModel:
    """Return the averaged network with its adapter, on the CPU; the model's own is as before.

    Raises UsageError as `fit` does.
    """
    schedule = trained_schedule(model)
    torch.manual_seed(options.seed)
    prepare(model.network, options)
    net = with_adapter(model.network, options.rank)
    size = (model.resolution, model.resolution)
    with torch.no_grad():
        empty = model.empty_prompt
    loss = ConsistencyLoss(model, schedule, options.guidance, empty, size, consistency_points(schedule, POINTS))
    checkpoint = options.folder / f"lcm-{options.key(options.rank)}.state.pt"
    trained: PeftModel = fit(net, loss, examples.batches, examples.held_out, options, checkpoint, on_progress)
    net.unload()
    return trained
