"""Direct inversion (Ju et al. 2024, arXiv 2310.01506): the source rows never leave the path that inversion found.

The offset that is added to a source row after each step is the distance to its recorded state.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from fastdiff.inversion.inversion import Inversion
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.solver_wrapper import SolverWrapper

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class DirectInversion(SolverWrapper[S]):
    """A solver whose first B rows are put on `trajectory` (N + 1, B, ...) after each of its N steps."""

    trajectory: Tensor

    def init(self, grid: Grid) -> S:
        return self.inner.init(grid)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        x, state = self.inner.step(f, x, step, state)
        recorded = self.trajectory[step.index + 1]
        return torch.cat([recorded, x[len(recorded) :]]), state


def apply_direct_inversion(inversion: Inversion) -> Inversion:
    """The same inversion with offsets: its first B rows are exact at every level. The figures stay the method's own."""
    return replace(inversion, solver=DirectInversion(inversion.solver, inversion.trajectory))
