"""Backward-Euler inversion of multistep solvers, DPM-Solver++(2M) first (Hong et al. 2024, arXiv 2311.18387).

A step of the sampler is implicit in the unknown state and uses the estimate of the previous step, which inversion has
not reached. First-order steps upwards approximate this estimate and give its correction. With the correction fixed, the
first-order part of the step is solved for the state.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from fastdiff.inversion.anderson import Anderson
from fastdiff.inversion.fixed_point import StepResiduals, solved_path, step_residual
from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.reversed import integrate_upwards
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import KnownPrediction
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step, integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.precomputed import PrecomputedDenoiser
from fastdiff.solvers.schedule import Level


class UpwardMemory(NamedTuple):
    """Solver state."""

    grid: Grid  # of the whole run, cleanest level first
    step_residuals: StepResiduals = ()


@dataclass(frozen=True)
class BackwardEuler:
    """The inverse of a multistep solver, as a solver. A call inverts pictures.

    `fine_substeps` divides each step of the grid to estimate the states above: 1 is the fast choice of DiT4Edit, 5 to
    10 are those of the source. Every step has the sampler's order, including both ends of the grid.

    Raises UsageError for a stochastic solver, and for less than one substep.
    """

    solver: Multistep = field(default_factory=dpmpp_2m)
    fine_substeps: int = 1
    search: Anderson = field(default_factory=Anderson)

    one_step = False
    stochastic = False

    def __post_init__(self) -> None:
        if self.solver.stochastic:
            raise UsageError("backward-Euler inversion of a solver that adds noise: give a deterministic one")
        if self.fine_substeps < 1:
            raise UsageError(f"{self.fine_substeps} substeps: give one or more")

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def nfe_per_step(self) -> int:
        return self.solver.order * (self.fine_substeps + 1) + self.search.iterations

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        states, end = integrate_upwards(f, self, x0, grid)
        return solved_path(self.solver, states, end.step_residuals, self.search)

    def init(self, grid: Grid) -> UpwardMemory:
        return UpwardMemory(grid)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: UpwardMemory) -> tuple[Tensor, UpwardMemory]:
        down = step.reverse  # the step of the sampler
        above = state.grid[step.index + 2 :][: self.solver.span(down) - 1]
        guess = self._walk(f, x, step.t, step.u)
        target = x - self._correction(f, guess, down, above) if above else x
        y, miss = self.search.solve(step_residual(f, self.solver, target, down, ()), guess)
        return y, UpwardMemory(state.grid, (*state.step_residuals, miss))

    def _correction(self, f: Denoiser, y: Tensor, down: Step, above: Grid) -> Tensor:
        """Return what the estimates at the levels above add to the sampler's step down from y (B, ...)."""
        u = down.t
        f = PrecomputedDenoiser(f, {u: f(y, u)})
        history, state, level = [], y, u
        for higher in above:
            state, level = self._walk(f, state, level, higher), higher
            history.append(KnownPrediction(level.lam, self.solver.parameterization.prediction(f(state, level))))
        informed, plain = (self.solver.step(f, y, down, known)[0] for known in (tuple(history), ()))
        return informed - plain

    def _walk(self, f: Denoiser, x: Tensor, t: Level, u: Level) -> Tensor:
        times = (t.t + (u.t - t.t) * i / self.fine_substeps for i in range(1, self.fine_substeps))
        return integrate(f, DDIM(), x, (t, *map(f.schedule.level, times), u)).x
