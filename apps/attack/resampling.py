"""Samples inverted pictures from a perturbed state (the noisiest or an intermediate one) or perturbed noise maps.

Inversion and sampling take the same steps of the same solver, so that a perturbation of 0 reconstructs the latents.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fastdiff.inversion.edit_friendly import RecordedNoise, recorded_noise
from fastdiff.inversion.inversion import Inversion
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.integration import Solver, Trajectory, integrate, is_recordable


@dataclass(frozen=True, eq=False)
class Resampling:
    """From perturbations to latents (B, C, h, w).

    A perturbation (B, C, h, w) is added to the state where sampling begins, or with `maps` (B, N, C, h, w) to the maps
    of the N steps.
    """

    f: Denoiser
    inversion: Inversion
    maps: bool = False

    def __call__(self, delta: Tensor) -> Tensor:
        begun = self.begin(delta, 0)
        return self.finish(delta, begun.x, begun.state, 0)

    @property
    def steps(self) -> int:
        return len(self.inversion.grid) - 1

    @property
    def unperturbed(self) -> Tensor:
        """Perturbations of 0."""
        start = torch.zeros_like(self.inversion.x)
        return start[:, None].repeat(1, self.steps, *[1] * (start.ndim - 1)) if self.maps else start

    def take(self, f: Denoiser, rows: Tensor) -> "Resampling":
        """Return the resampling of some rows, with a denoiser for their prompts."""
        solver = self.inversion.solver
        if is_recordable(solver) and (maps := recorded_noise(solver)) is not None:
            solver = solver.with_noise(RecordedNoise(maps.z[:, rows]))
        part = replace(self.inversion, solver=solver, trajectory=self.inversion.trajectory[:, rows])
        return replace(self, f=f, inversion=part)

    def begin(self, delta: Tensor, steps: int) -> Trajectory[Any]:
        """Return the state after the first `steps` steps, and the solver's memory."""
        x = self.inversion.x if self.maps else self.inversion.x + delta
        solver, grid = self._solver(delta), self.inversion.grid
        return integrate(self.f, solver, x, grid, last=steps)

    def finish(self, delta: Tensor, x: Tensor, memory: Any, steps: int) -> Tensor:
        """Return the latents, from the state after the first `steps` steps."""
        return integrate(self.f, self._solver(delta), x, self.inversion.grid, first=steps, state=memory).x

    def spread(self, gradient: Tensor) -> Tensor:
        """The gradient by a perturbation where latents move as much as that."""
        return gradient[:, None].repeat(1, self.steps, *[1] * (gradient.ndim - 1)) if self.maps else gradient

    def gathered(self, by_state: Tensor | None, by_delta: Tensor | None, first: int) -> Tensor:
        """The gradient by a perturbation, from those by the state after `first` steps and by the steps after."""
        assert by_state is not None
        if not self.maps:
            return by_state
        if by_delta is None:
            return self.spread(by_state)
        return torch.cat([self.spread(by_state)[:, :first], by_delta[:, first:]], dim=1)

    def _solver(self, delta: Tensor) -> Solver[Any]:
        solver = self.inversion.solver
        if not self.maps:
            return solver
        maps = recorded_noise(solver)
        assert is_recordable(solver) and maps is not None
        return solver.with_noise(RecordedNoise(maps.z + delta.transpose(0, 1)))
