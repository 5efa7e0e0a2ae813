"""Multistep exponential integrators: one evaluation per step; the order comes from predictions of earlier steps.

The multistep solvers of the DPM family are this step with another parameterization, order or treatment of the slope:
see dpm_solver.py. adams_bashforth.py has terms of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, isinf
from typing import Self

from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.exponential import (
    X0,
    KnownPrediction,
    Parameterization,
    Slope,
    advance,
    midpoint,
    positions,
    weights,
)
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step, Transition
from fastdiff.solvers.noise import NoiseSource
from fastdiff.solvers.schedule import Level, Schedule

History = tuple[KnownPrediction, ...]  # solver state: earlier predictions, newest first


@dataclass(frozen=True)
class Multistep:
    """Interpolates the last `order` predictions.

    With `lower_final` the last steps lower the order towards 1. Runs of few steps need this for stability; it hides the
    order of convergence. A step to or from a level without noise or without signal always has order 1.
    """

    order: int
    parameterization: Parameterization = X0
    slope: Slope = midpoint
    curvature: float = 1.0
    lower_final: bool = True
    noise: NoiseSource | None = None

    nfe_per_step = 1

    @property
    def one_step(self) -> bool:
        return self.order == 1

    @property
    def stochastic(self) -> bool:
        return self.noise is not None

    def with_noise(self, noise: NoiseSource) -> Self:
        return replace(self, noise=noise)

    def init(self, grid: Grid) -> History:
        return ()

    def step(self, f: Denoiser, x: Tensor, step: Step, state: History) -> tuple[Tensor, History]:
        mean, deviation, after = self.transition(f, x, step, state)
        if self.noise is None or deviation == 0:
            return mean, after
        return mean + deviation * self.noise(mean, step.index + 1), after

    def transition(self, f: Denoiser, x: Tensor, step: Step, state: History) -> Transition[History]:
        t, u = step.t, step.u
        estimate = f(x, t)
        history = (KnownPrediction(t.lam, self.parameterization.prediction(estimate)), *state)[: self.order]
        after = history if isfinite(t.lam) else ()
        coefficients = self.parameterization.coefficients(t, u)
        if isinf(coefficients.hh) and not coefficients.noise:
            return Transition(renoise(estimate, u), 0.0, after)
        used = history[: self.span(step)]
        terms = self.terms(f.schedule, t, u, used)
        return Transition(advance(coefficients, x, terms, [known.value for known in used]), coefficients.noise, after)

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[KnownPrediction]) -> list[float]:
        """Return the factors of the `used` predictions in `advance`, newest first, for the step from t to u."""
        return weights(
            self.parameterization.coefficients(t, u).hh, positions(used[1:], t, u), self.slope, self.curvature
        )

    def span(self, step: Step) -> int:
        """Return the largest number of predictions that the step uses, including its own."""
        return min(self.order, step.left) if self.lower_final else self.order
