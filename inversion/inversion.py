"""Inversion of pictures by any method, and their reconstruction."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from fastdiff.inversion.batching import repeat_rows
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, integrate
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import row_norms


class InversionPath(NamedTuple):
    """Result of an inversion method."""

    solver: Solver[Any]  # samples the pictures from states[0]; holds recorded noise
    states: Tensor  # (N + 1, B, ...) at all levels of the grid, noisiest first; the last are the given pictures
    step_residuals: Tensor | None = None  # (N, B) residual of each solved step relative to the state, noisiest first
    converged: Tensor | None = None  # (B,) bool: the method solved every step to its tolerance


class Inverter(Protocol):
    """A method: maps pictures x0 (B, ...) and a sampling grid of N steps that ends above sigma 0 to their path."""

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath: ...


@dataclass(frozen=True)
class Inversion:
    """The inputs of `regenerate`, with measured exactness.

    Changes after a step (direct inversion, masks) are solvers around `solver`: `replace(inversion, solver=...)`.
    """

    solver: Solver[Any]
    grid: Grid  # of N steps, noisiest level first
    trajectory: Tensor  # (N + 1, B, ...), the states of InversionPath
    nfe: int  # network evaluations, without the reconstruction
    residual: Tensor | None = None  # (B,) distance of the reconstruction, relative to the norm of the picture
    step_residuals: Tensor | None = None  # as in InversionPath
    converged: Tensor | None = None  # as in InversionPath

    @property
    def x(self) -> Tensor:
        """The states (B, ...) at the noisiest level, where sampling starts."""
        return self.trajectory[0]


def invert(f: Denoiser, x0: Tensor, grid: Grid, inverter: Inverter, measure: bool = True) -> Inversion:
    """Invert pictures x0 (B, ...) over `grid`, a sampling grid that ends above sigma 0.

    With `measure`, reconstructs the pictures to set `residual`. Warns if a step was not solved, which strong guidance
    and long steps cause.

    Raises UsageError for a grid that rises or ends at sigma 0.
    """
    if grid[0].lam > grid[-1].lam:
        raise UsageError("the noise of the grid rises: give the grid in the order of sampling, noisiest level first")
    if grid[-1].sigma == 0:
        raise UsageError("the grid ends at sigma 0, where noise leaves no trace: end it at a sigma above 0")
    counted = CountingDenoiser(f)
    path = inverter(counted, x0, grid)
    if path.converged is not None and not read_back(path.converged.all()):
        left = len(x0) - read_back(path.converged.sum())
        warnings.warn(f"{left} of {len(x0)} pictures were not inverted to the tolerance of the method", stacklevel=2)
    inversion = Inversion(
        path.solver, grid, path.states, counted.tally.nfe, step_residuals=path.step_residuals, converged=path.converged
    )
    if not measure:
        return inversion
    return replace(inversion, residual=row_norms(regenerate(f, inversion) - x0) / row_norms(x0))


def regenerate(
    f: Denoiser, inversion: Inversion, copies: int = 1, watch: Callable[[Progress], None] | None = None
) -> Tensor:
    """Sample the B pictures of the inversion `copies` times in one batch (copies * B, ...), as by `repeat_rows`.

    With the prompt and guidance of the inversion in `f`, reconstructs the pictures; with other prompts, edits them.
    """
    x = repeat_rows(inversion.x, copies * len(inversion.x))
    return integrate(f, inversion.solver, x, inversion.grid, watch=watch).x
