"""Analytical teleportation before any solver: the first steps of a run follow a Gaussian and cost no evaluation."""

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.solver_wrapper import SolverWrapper

S = TypeVar("S")


class Carrier(Protocol):
    """A known flow at high noise, such as `fastdiff.solvers.teleport.Teleport`."""

    def carry(self, x: Tensor, t: Level, u: Level) -> Tensor:
        """Return the state (B, ...) at level u of the trajectory through x (B, ...) at level t."""
        ...


@dataclass(frozen=True, eq=False)
class WithTeleport(SolverWrapper[S]):
    """`inner` after teleportation over the first `skip` steps of a falling grid.

    init raises UsageError for a rising grid, and if no step is left.
    """

    teleport: Carrier
    skip: int

    def init(self, grid: Grid) -> S:
        if grid[0].lam > grid[-1].lam:
            raise UsageError("teleportation from little noise to more: it stands for the noisy end of sampling")
        if not 0 <= self.skip < len(grid) - 1:
            raise UsageError(f"{self.skip} of {len(grid) - 1} steps teleported: one or more must be left")
        return self.inner.init(grid[self.skip :])

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        if step.index < self.skip:
            return self.teleport.carry(x, step.t, step.u), state
        rest = replace(step, index=step.index - self.skip, total=step.total - self.skip)
        return self.inner.step(f, x, rest, state)
