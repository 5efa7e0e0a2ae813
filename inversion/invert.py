"""From an image to the noise that a solver makes it from again, with the error of that round trip."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.integrate import Solver, integrate

Inverter = Callable[[Solver], Solver]


@dataclass(frozen=True)
class Inversion:
    """The result of `invert`."""

    x: Tensor  # (B, ...) state at the noisiest level of the grid
    residual: Tensor  # (B,) distance of the regenerated image from the given one, relative to the given one's norm


def invert(f: Denoiser, x0: Tensor, grid: Grid, solver: Solver, inverter: Inverter) -> Inversion:
    """Noise from which `solver` regenerates x0 (B, ...) over `grid`, a sampling grid that ends above sigma 0.

    The residual is measured by sampling once more, so it counts what the inverter left over.

    Raises UsageError for a grid that rises or ends at sigma 0, and for solvers that cannot be inverted.
    """
    if grid[0].lam > grid[-1].lam:
        raise UsageError("the noise of the grid rises: give the grid in the order of sampling, noisiest level first")
    x = integrate(f, inverter(solver), x0, grid[::-1]).x
    again = integrate(f, solver, x, grid).x
    return Inversion(x, _norm(again - x0) / _norm(x0))


def unchanged(solver: Solver) -> Solver:
    """The solver itself over the reversed grid: DDIM inversion and its higher orders. Exact only for short steps."""
    return solver


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
