"""Multistep exponential integrators: one call a step, the order from values of earlier steps.

The solvers of the DPM family that remember are this step with other data: the view that is integrated, the order, the
treatment of the slope. Each has a file of its own that says which (dpmpp_2m.py and its neighbours).
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

History = tuple[KnownPrediction, ...]  # what a multistep run carries, newest first


@dataclass(frozen=True)
class Multistep:
    """Interpolates the last `order` values of the view.

    With `lower_final` the last steps lower the order towards 1, which few steps need for stability and a measured order
    of convergence must not have. A step to or from a level without noise or without signal has order 1 in any case.
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
        """What `advance` multiplies the `used` values with, newest first, over the step from t to u."""
        return weights(
            self.parameterization.coefficients(t, u).hh, positions(used[1:], t, u), self.slope, self.curvature
        )

    def span(self, step: Step) -> int:
        """The number of values that the step uses at most, its own included."""
        return min(self.order, step.left) if self.lower_final else self.order
