"""Pictures from prompts: a model that guidance or a SpeedUpNet leads along them, a solver and its noise levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning, EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.denoiser import STEPS, speedup_denoiser, speedup_grid
from fastdiff.models.speedup.speedup_file import bundled_speedup
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import Solver, integrate, is_recordable
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.training.edit.scenes import SIDE

NOISE_SEED, FRESH_SEED = 0, 1


@dataclass(frozen=True)
class WithGuidance:
    """A model with classifier-free guidance, none at a scale of 1."""

    model: EditableModel
    scale: float

    @property
    def rows(self) -> int:
        """Rows of the network for a picture in a call."""
        return 1 if self.scale == 1 else 2

    def denoiser(self, prompts: Conditioning, negative_prompts: Conditioning | None) -> Denoiser:
        return guided_denoiser(self.model, prompts, self.scale, (SIDE, SIDE), negative_prompt=negative_prompts)


@dataclass(frozen=True)
class WithSpeedUpNet:
    """A model with the adapter of a SpeedUpNet."""

    model: EditableModel
    adapter: SpeedUpNet
    rows = 1  # of the network for a picture in a call

    def denoiser(self, prompts: Conditioning, negative_prompts: Conditioning | None) -> Denoiser:
        return speedup_denoiser(self.model, self.adapter, prompts, (SIDE, SIDE), negative_prompt=negative_prompts)


@dataclass(frozen=True)
class Sampler:
    """A model with a solver and the noise levels of its steps."""

    name: str
    conditioned: WithGuidance | WithSpeedUpNet
    solver: Solver[Any]
    levels: Grid

    @property
    def rows(self) -> int:
        """Rows that the network gets for a picture."""
        return (len(self.levels) - 1) * self.conditioned.rows

    def __call__(
        self, prompts: Sequence[str], numbers: tuple[int, ...], negative_prompts: Sequence[str] | None = None
    ) -> Tensor:
        """Return pictures (B, 3, SIDE, SIDE) in [-1, 1] of B prompts; `numbers` identify their noise.

        `negative_prompts` are B, or none for the empty prompt.
        """
        model = self.conditioned.model
        negative = None if negative_prompts is None else model.encode_negative_prompts(negative_prompts)
        f = self.conditioned.denoiser(model.encode_prompts(prompts), negative)
        x = Noise(NOISE_SEED, numbers)(model.encode(torch.zeros(len(prompts), 3, SIDE, SIDE)))
        solver = self.solver
        if is_recordable(solver):
            solver = solver.with_noise(Noise(FRESH_SEED, numbers))
        return model.decode(integrate(f, solver, x, self.levels).x).clamp(-1, 1)


def guided_sampler(model: EditableModel, scale: float, solver: str, calls: int) -> Sampler:
    """Return the sampler of a registered solver in equal strides of time, one call each."""
    levels = grid(time_uniform, model.trained.schedule, calls)
    return Sampler(f"{solver}, {calls} calls", WithGuidance(model, scale), SOLVERS[solver](), levels)


def speedup_sampler(model: EditableModel) -> Sampler:
    """Return the sampler of the bundled model with its SpeedUpNet. Raises MissingError where the file is lost."""
    levels = speedup_grid(model.trained.schedule)
    return Sampler(f"speedup, {STEPS} calls", WithSpeedUpNet(model, bundled_speedup().adapter), DDIM(), levels)
