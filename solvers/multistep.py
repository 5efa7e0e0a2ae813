"""Multistep exponential integrators: one call a step, the order from values of earlier steps.

The solvers of the DPM family that remember are this step with other data: the view that is integrated, the order, the
treatment of the slope. Each has a file of its own that says which (dpmpp_2m.py and its neighbours).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isinf
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.ddim import remix
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.exponential import DATA, Form, Known, Slope, advance, midpoint, positions, weights
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.noise import NoiseSource
from fastdiff.solvers.schedule import Level, Schedule


class Memory(NamedTuple):
    """What a multistep run carries."""

    steps: int  # of the run
    done: int = 0
    history: tuple[Known, ...] = ()  # newest first


@dataclass(frozen=True)
class Multistep:
    """Interpolates the last `order` values of the view.

    With `lower_final` the last steps lower the order towards 1, which few steps need for stability and a measured order
    of convergence must not have. A step to or from a level without noise or without signal has order 1 in any case.
    """

    order: int
    form: Form = DATA
    slope: Slope = midpoint
    curvature: float = 1.0
    lower_final: bool = True
    noise: NoiseSource | None = None

    evals = 1

    @property
    def one_step(self) -> bool:
        return self.order == 1

    @property
    def stochastic(self) -> bool:
        return self.noise is not None

    def init(self, grid: Grid) -> Memory:
        return Memory(len(grid) - 1)

    def step(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: Memory) -> tuple[Tensor, Memory]:
        mean, deviation, after = self.transition(f, x, t, u, state)
        if self.noise is None or deviation == 0:
            return mean, after
        return mean + deviation * self.noise(mean, after.done), after

    def transition(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: Memory) -> tuple[Tensor, float, Memory]:
        """Mean (B, ...) and standard deviation of the state at u, and the memory after the step."""
        estimate = f(x, t)
        history = (Known(t.lam, self.form.view(estimate)), *state.history)[: self.order]
        after = Memory(state.steps, state.done + 1, history if isfinite(t.lam) else ())
        frame = self.form.frame(t, u)
        if isinf(frame.hh) and not frame.noise:
            return remix(estimate, u), 0.0, after
        used = history[: self.span(state)]
        terms = self.terms(f.schedule, t, u, used)
        return advance(frame, x, terms, [known.value for known in used]), frame.noise, after

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[Known]) -> list[float]:
        """What `advance` multiplies the `used` values with, newest first, over the step from t to u."""
        return weights(self.form.frame(t, u).hh, positions(used[1:], t, u), self.slope, self.curvature)

    def span(self, state: Memory) -> int:
        """The number of values that the next step uses at most, its own included."""
        return min(self.order, state.steps - state.done) if self.lower_final else self.order
