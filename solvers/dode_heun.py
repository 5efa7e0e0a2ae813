"""D-ODE around Heun's rule (Kim et al. 2024, arXiv 2309.16421): one coefficient after each half of a step.

Euler's half is corrected by the change of the clean estimate since the last evaluation, the second half by its change
within the step. Both are scaled as the estimate in an Euler step; the authors' coefficients are these times `reach`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.coefficients import Coefficient, check_grid, from_tensor, to_tensor
from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.learned_correction import reach
from fastdiff.solvers.schedule import Level


class Half(NamedTuple):
    """Half of a step."""

    end: Tensor  # (B, ...) uncorrected state at u
    estimate: Estimate  # at its start
    change: Tensor | None  # (B, ...) direction of the correction

    def corrected(self, coefficient: Coefficient) -> Tensor:
        return self.end if self.change is None else self.end + coefficient * self.change


@dataclass(frozen=True, eq=False)
class HeunDODE:
    """Two evaluations per step, one at a level without noise or signal. `fastdiff.solvers.tuning.dode_heun` fits it.

    The solver fits the grid of the fit only: init raises UsageError for a rising grid and for another number of steps.
    """

    coefficients: tuple[tuple[Coefficient, Coefficient], ...]  # (N, 2); the first one is unused

    order = 2
    nfe_per_step = 2
    one_step = False
    stochastic = False

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "HeunDODE":
        """Restore the solver from `tensors()`. Raises UsageError for damaged coefficients."""
        return cls(tuple((first, second) for first, second in from_tensor(cls.__name__, tensors, "numbers", 2)))

    def tensors(self) -> dict[str, Tensor]:
        """Return the coefficients as solver files store them, under the name "numbers"."""
        return {"numbers": to_tensor(self.coefficients)}

    def init(self, grid: Grid) -> Tensor | None:
        check_grid(type(self).__name__, len(self.coefficients), grid)
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """`state` is the clean estimate (B, ...) of the last evaluation."""
        t, u = step.t, step.u
        first, second = self.coefficients[step.index]
        euler = self.predict(f, x, t, u, state)
        x = euler.corrected(first)
        if isinf(u.lam - t.lam):
            return x, euler.estimate.x0
        trapezoid = self.correct(f, euler, x, t, u)
        return trapezoid.corrected(second), trapezoid.estimate.x0

    def predict(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: Tensor | None) -> Half:
        """Return Euler's half, from x (B, ...) at t."""
        estimate = f(x, t)
        change = None if state is None else reach(t, u) * (estimate.x0 - state)
        return Half(renoise(estimate, u), estimate, change)

    def correct(self, f: Denoiser, euler: Half, x: Tensor, t: Level, u: Level) -> Half:
        """Return the half that uses the slope at u too. x (B, ...) is the corrected end of Euler's half."""
        estimate, before = f(x, u), euler.estimate
        stride = u.alpha * (u.edm_sigma - t.edm_sigma)
        end = torch.add(euler.end, estimate.eps - before.eps, alpha=stride / 2)
        return Half(end, estimate, reach(t, u) * (estimate.x0 - before.x0))
