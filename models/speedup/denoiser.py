"""The denoiser of a network with a SpeedUpNet: one row per sample, with a negative prompt and without guidance."""

from dataclasses import dataclass, replace

import torch

from fastdiff.models.diffusion_model import Conditioning, DiffusionModel
from fastdiff.models.hooks import AttentionLayer, HookedDenoiser, Processor
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.solvers.grids import Grid, grid, trailing
from fastdiff.solvers.guidance import Guided, Unguided
from fastdiff.solvers.schedule import Level, Schedule

STEPS = 4  # of sampling, which training is for


@dataclass(frozen=True, eq=False)
class SpeedUpDenoiser(HookedDenoiser):
    """Applies an adapter to the cross-attention of `network` while `inner` calls it."""

    adapter: SpeedUpNet

    @property
    def same_at_all_levels(self) -> bool:
        return True

    def attention(self, layer: AttentionLayer, processor: Processor, level: Level) -> Processor:
        return self.adapter.processor(layer) if layer.cross else processor


def speedup_denoiser(
    model: DiffusionModel,
    adapter: SpeedUpNet,
    prompts: Conditioning,
    size: tuple[int, int],
    *,
    negative_prompt: Conditioning | None = None,
) -> SpeedUpDenoiser:
    """Return a denoiser of latents (B, C, h, w) of pictures of `size` pixels (height, width), one row per prompt.

    Each step calls the network on B rows. `negative_prompt`, of one row or B, is the empty prompt by default. Sample
    with DDIM over `speedup_grid`. The adapter has the device and the dtype of the network. Raises UsageError for a
    network that is neither the one that the adapter was trained for nor a fine-tune of it.
    """
    adapter.check_network(model.network)
    negative = negative_prompt or model.empty_prompt
    joined = join_prompts(prompts, negative.repeat(len(prompts) // len(negative)))
    return SpeedUpDenoiser(Guided(model.bind(joined, size), Unguided()), model.network, adapter)


def speedup_grid(schedule: Schedule) -> Grid:
    """Return the levels of the STEPS steps that a SpeedUpNet is trained for: equal strides of the timestep to sigma 0.

    Raises UsageError for a schedule without timesteps.
    """
    return grid(trailing, schedule, STEPS, clean=True)


def join_prompts(prompts: Conditioning, negative: Conditioning) -> Conditioning:
    """Return the tokens of prompts (B, L, D) and then those of as many negative prompts, (B, 2 L, D)."""
    return replace(
        prompts,
        embeddings=torch.cat([prompts.embeddings, negative.embeddings], dim=1),
        mask=torch.cat([prompts.mask, negative.mask], dim=1),
    )
