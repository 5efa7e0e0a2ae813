"""Exact inversion of a one-step solver: finds the state whose sampling step ends at the given state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import hypot
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastdiff.inversion.anderson import Anderson
from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.reversed import integrate_upwards
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, Step

S = TypeVar("S")
StepResiduals = tuple[Tensor, ...]  # (B,) per finished step, cleanest level first


@dataclass(frozen=True)
class FixedPoint:
    """The inverse of a solver, as a solver. A call inverts pictures.

    Anderson iteration solves the implicit equation of each step, starting from the solver's own reversed step. Strong
    guidance and long steps can prevent convergence; the path reports it.

    Raises UsageError for a multistep solver, and for a stochastic one.
    """

    solver: Solver[Any] = field(default_factory=DDIM)
    search: Anderson = field(default_factory=Anderson)

    one_step = True
    stochastic = False

    def __post_init__(self) -> None:
        if not self.solver.one_step or self.solver.stochastic:
            raise UsageError(
                f"fixed-point inversion of {type(self.solver).__name__}: only deterministic one-step solvers have it"
            )

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def nfe_per_step(self) -> int:
        return self.solver.nfe_per_step * (self.search.iterations + 2)

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        states, step_residuals = integrate_upwards(f, self, x0, grid)
        return solved_path(self.solver, states, step_residuals, self.search)

    def init(self, grid: Grid) -> StepResiduals:
        return ()

    def step(self, f: Denoiser, x: Tensor, step: Step, state: StepResiduals) -> tuple[Tensor, StepResiduals]:
        """Find y at u such that the solver's step from y, u -> t, ends at x."""
        memory = self.solver.init((step.u, step.t))
        guess, _ = self.solver.step(f, x, step, memory)
        y, miss = self.search.solve(step_residual(f, self.solver, x, step.reverse, memory), guess)
        return y, (*state, miss)


def step_residual(f: Denoiser, solver: Solver[S], x: Tensor, down: Step, memory: S) -> Callable[[Tensor], Tensor]:
    """Return the function from y to the residual of the solver's step down from y to x, in the units of y."""
    u, t = down.t, down.u
    gain = hypot(u.alpha, u.sigma) / hypot(t.alpha, t.sigma)  # exact for data of unit variance
    return lambda y: (x - solver.step(f, y, down, memory)[0]) * gain


def solved_path(solver: Solver[Any], states: Tensor, step_residuals: StepResiduals, search: Anderson) -> InversionPath:
    """Return the path through the states (N + 1, B, ...), with the residual of each solved step."""
    table = torch.stack(step_residuals[::-1])  # (N, B)
    return InversionPath(solver, states, table, (table <= search.bound(table.dtype)).all(0))
