"""Samplers of a given number of network evaluations: a solver with the grid of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.few_step_grids import few_step
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED


class Sampler(Protocol):
    """A solver on a grid. `str` names what distinguishes it from other samplers of the same solver."""

    @property
    def grid(self) -> str: ...  # its name

    def sample(self, f: Denoiser, x: Tensor, nfe: int) -> Tensor:
        """Return the end (B, ...) of a run from x (B, ...) at the noisiest level.

        Raises UsageError if no run takes `nfe` network evaluations, or the grid does not fit.
        """
        ...


@dataclass(frozen=True, eq=False)
class FastdiffSampler:
    """A solver of the registry."""

    config: SamplerConfig

    @property
    def grid(self) -> str:
        return self.config.grid

    def sample(self, f: Denoiser, x: Tensor, nfe: int) -> Tensor:
        solver = self.config.make()
        return integrate(f, solver, x, self.config.levels(f.schedule, nfe, solver.nfe_per_step)).x

    def __str__(self) -> str:
        return describe(self.config)


@dataclass(frozen=True)
class FewStepSampler:
    """The solvers and grids of "Hyperparameters are all you need", for five, six and eight evaluations.

    The end keeps much of its noise on purpose, and so lies far from a clean one.
    """

    grid = "few-step"

    def sample(self, f: Denoiser, x: Tensor, nfe: int) -> Tensor:
        solver: Solver[Any] = dpmpp_2m(lower_final=False) if nfe == 8 else DDIM()
        return integrate(f, solver, x, grid(few_step, f.schedule, nfe)).x

    def __str__(self) -> str:
        return self.grid


@dataclass(frozen=True, eq=False)
class TunedSampler:
    """A tuned solver with the tensors of one fit, for one number of evaluations."""

    config: SamplerConfig
    tensors: Mapping[str, Tensor]

    @property
    def grid(self) -> str:
        return self.config.grid

    def sample(self, f: Denoiser, x: Tensor, nfe: int) -> Tensor:
        solver = TUNED[self.config.solver].restore(self.tensors, **self.config.options)
        return integrate(f, solver, x, self.config.levels(f.schedule, nfe, solver.nfe_per_step)).x

    def __str__(self) -> str:
        return describe(self.config)


def describe(config: SamplerConfig) -> str:
    """Return the grid and options, such as `karras+clean, order 2, corrector`; switches that are off are omitted."""
    options = [name if value is True else f"{name} {value:g}" for name, value in config.options.items()
               if name != "base" and value is not False]  # fmt: skip
    return ", ".join([config.grid, *options])
