"""Analytical teleportation (Wang and Vastola 2024, arXiv 2412.09726): the noisiest part of a run without evaluations.

At high noise data resemble a Gaussian with their mean and covariance, whose sampling equation has a closed form. A
solver continues from level k: integrate(f, solver, teleport.carry(x, grid[0], grid[k]), grid[k:]).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class Teleport:
    """A Gaussian whose covariance has rank r in D dimensions; the data do not vary in the other directions.

    Raises UsageError if the shapes disagree.
    """

    mean: Tensor  # (...) with D elements
    basis: Tensor  # (D, r) orthonormal columns
    eigenvalues: Tensor  # (r,) of the covariance, 0 or more

    def __post_init__(self) -> None:
        if self.basis.shape != (self.mean.numel(), len(self.eigenvalues)):
            raise UsageError(
                f"a basis of shape {tuple(self.basis.shape)} for {self.mean.numel()} elements "
                f"and {len(self.eigenvalues)} eigenvalues: they must agree"
            )

    def carry(self, x: Tensor, t: Level, u: Level) -> Tensor:
        """Return the exact flow of x (B, ...) from level t, above sigma 0, to level u, in either direction.

        Raises UsageError for states of another shape.
        """
        if x.shape[1:] != self.mean.shape:
            raise UsageError(f"states of {tuple(x.shape[1:])}: the Gaussian is of {tuple(self.mean.shape)}")
        mean, basis = self.mean.to(x.device), self.basis.to(x.device)
        centred = (x - t.alpha * mean).flatten(1).to(basis.dtype)  # (B, D)
        rest = u.sigma / t.sigma
        gains = self._deviation(u) / self._deviation(t) - rest  # (r,)
        moved = rest * centred + centred @ basis * gains.to(x.device) @ basis.mT
        return (u.alpha * mean + moved.reshape(x.shape)).to(x.dtype)

    def _deviation(self, level: Level) -> Tensor:
        return torch.sqrt(level.alpha**2 * self.eigenvalues + level.sigma**2)
