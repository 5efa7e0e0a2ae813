"""The objective of a SpeedUpNet (Chai et al. 2023, arXiv 2312.08887).

The paper names two objectives, and its authors published no training. This is our reading of them. Multi-step
consistency: one large step of the student, without guidance, ends where a few smaller steps of the teacher end, which
is guided towards the prompt and away from a negative prompt. Distillation of the offset: the student's estimate is the
teacher's guided estimate at the same state. The two disagree where the trajectory bends; the second one has a small
weight, and in a distance that grows linearly a small weight does not move the minimum.

Negative prompts are the prompts of other pictures, and for a share of them the empty one.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.denoiser import SpeedUpDenoiser, join_prompts, speedup_grid
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.guidance import ClassifierFree, Guided, Unguided
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.precomputed import PrecomputedDenoiser
from fastdiff.solvers.rows import choose_rows
from fastdiff.solvers.schedule import DiscreteVP, Level
from fastdiff.solvers.unipc import UniPC
from fastdiff.training.distillation.plan import conditioning, pseudo_huber
from fastdiff.training.fit import noise_like

TEACHER_STEPS = 3  # in a step of the student: twelve of UniPC in all, whose pictures are as good as those of 25
EMPTY = 0.5  # share of empty negative prompts
OFFSET_WEIGHT = 0.1  # of the distillation of the offset


@dataclass(frozen=True)
class SpeedUpLoss:
    """The objective for the adapter of a frozen model, which is the teacher.

    `guidance` is the teacher's scale, `empty` the unconditional prompt, of one row, and `size` the (height, width) of
    the pictures. Every batch is spread over the steps of `speedup_grid`.
    """

    model: LatentDiffusionModel
    schedule: DiscreteVP
    guidance: float
    empty: Conditioning
    size: tuple[int, int]

    def __call__(self, net: SpeedUpNet, clean: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return the loss for clean latents (B, C, h, w) and encoded prompts, embeddings (B, L, D) and mask (B, L)."""
        prompts, noise = conditioning(embeddings, mask), noise_like(clean)
        negative = self.negative_prompts(prompts)
        steps = list(pairwise(speedup_grid(self.schedule)))
        total = clean.new_zeros(())
        for first, number in enumerate(torch.randperm(len(steps)).tolist()):
            if rows := list(range(first, len(clean), len(steps))):
                start, end = steps[number]
                x = start.alpha * clean[rows] + start.sigma * noise[rows]
                total = total + len(rows) * self.of_step(net, x, start, end, prompts.take(rows), negative.take(rows))
        return total / len(clean)

    def of_step(
        self, net: SpeedUpNet, x: Tensor, start: Level, end: Level, prompts: Conditioning, negative: Conditioning
    ) -> Tensor:
        """Return the loss of a step from states x (B, C, h, w), in units of the clean latents over sigma."""
        with torch.no_grad():
            teacher = Guided(self.model.bind(prompts, self.size, negative), ClassifierFree(self.guidance))
            guided = teacher(x, start)
            known = PrecomputedDenoiser(teacher, {start: guided})
            ended = integrate(known, UniPC(), x, between(self.schedule, start, end, TEACHER_STEPS)).x
        bound = Guided(self.model.bind(join_prompts(prompts, negative), self.size), Unguided())
        found = SpeedUpDenoiser(bound, self.model.network, net)(x, start).x0
        consistency = pseudo_huber((found - clean_estimate(x, start, ended, end)) / start.sigma)
        return consistency + OFFSET_WEIGHT * pseudo_huber((found - guided.x0) / start.sigma)

    def negative_prompts(self, prompts: Conditioning) -> Conditioning:
        """Return the prompt of the next row for every one of B rows, or the empty prompt."""
        rows = len(prompts)
        others = prompts.take([*range(1, rows), 0])
        chosen = (torch.rand(rows) < EMPTY).to(prompts.mask.device)
        empty = self.empty.repeat(rows)
        return replace(
            others,
            embeddings=choose_rows(chosen, empty.embeddings.to(others.embeddings), others.embeddings),
            mask=choose_rows(chosen, empty.mask, others.mask),
        )


def between(schedule: DiscreteVP, start: Level, end: Level, steps: int) -> Grid:
    """Return the levels of `steps` steps from `start` to `end`, in equal strides of the timestep."""
    top, stride = schedule.timestep(start), (schedule.timestep(end) - schedule.timestep(start)) / steps
    return (start, *(schedule.at_timestep(top + stride * number) for number in range(1, steps)), end)


def clean_estimate(x: Tensor, start: Level, ended: Tensor, end: Level) -> Tensor:
    """Return the clean estimate at `start` with which one step of DDIM leads from x to `ended`, both (B, ...)."""
    return (start.sigma * ended - end.sigma * x) / (end.alpha * start.sigma - end.sigma * start.alpha)
