"""Inversion by the sampling equation itself: a solver over the reversed grid."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastdiff.inversion.inversion import InversionPath
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate

S = TypeVar("S")


@dataclass(frozen=True)
class Reversed:
    """Any deterministic solver upwards: DDIM inversion and its higher orders. Exact for short steps only.

    Raises UsageError for a stochastic solver.
    """

    solver: Solver[Any] = field(default_factory=DDIM)

    def __post_init__(self) -> None:
        if self.solver.stochastic:
            raise UsageError(f"inversion by {type(self.solver).__name__}, which adds noise: give a deterministic one")

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        return InversionPath(self.solver, integrate_upwards(f, self.solver, x0, grid)[0])


def integrate_upwards(f: Denoiser, solver: Solver[S], x0: Tensor, grid: Grid) -> tuple[Tensor, S]:
    """Run up the sampling grid from x0 (B, ...).

    Return states (N + 1, B, ...), noisiest first, and the solver state.
    """
    states = [x0]
    end = integrate(f, solver, x0, grid[::-1], watch=lambda progress: states.append(progress.x))
    return torch.stack(states[::-1]), end.state
