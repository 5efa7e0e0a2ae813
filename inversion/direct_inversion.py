"""Direct inversion (Ju et al. 2024, arXiv 2310.01506): the source rows stay on the trajectory of the inversion.

After each step the method adds to a source row its distance to the recorded state.
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
    """Sets the first B rows to `trajectory` (N + 1, B, ...) after each of the N steps of `inner`."""

    trajectory: Tensor

    def init(self, grid: Grid) -> S:
        return self.inner.init(grid)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        x, state = self.inner.step(f, x, step, state)
        recorded = self.trajectory[step.index + 1]
        return torch.cat([recorded, x[len(recorded) :]]), state


def apply_direct_inversion(inversion: Inversion) -> Inversion:
    """Return the inversion with a solver that keeps its first B rows exact at every level.

    Measured fields stay those of the method itself.
    """
    return replace(inversion, solver=DirectInversion(inversion.solver, inversion.trajectory))
