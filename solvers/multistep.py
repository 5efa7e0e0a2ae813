"""Multistep exponential integrators: one call a step, the order from values of earlier steps.

DPM-Solver++ 2M and 3M (Lu et al. 2022, arXiv 2211.01095) integrate the data view, DPM-Solver 2M (arXiv 2206.00927) the
noise view, SDE-DPM-Solver++ the data view along the reverse-time SDE. They differ in data, not in code.
"""

from dataclasses import dataclass
from math import isfinite, isinf
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.ddim import remix
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.exponential import (
    DATA,
    DIFFUSION,
    NOISE,
    Form,
    Known,
    Slope,
    advance,
    midpoint,
    positions,
    weights,
)
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.schedule import Level


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
        estimate = f(x, t)
        history = (Known(t.lam, self.form.view(estimate)), *state.history)[: self.order]
        after = Memory(state.steps, state.done + 1, history if isfinite(t.lam) else ())
        frame = self.form.frame(t, u)
        if isinf(frame.hh) and not frame.noise:
            return remix(estimate, u), after
        used = history[: state.steps - state.done] if self.lower_final else history
        terms = weights(frame.hh, positions(used[1:], t, u), self.slope, self.curvature)
        x = advance(frame, x, terms, [known.value for known in used])
        if self.noise is not None:
            x = x + frame.noise * self.noise(x, after.done)
        return x, after


def dpmpp_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """DPM-Solver++(2M), algorithm 2 of arXiv 2211.01095."""
    return Multistep(2, DATA, slope, lower_final=lower_final)


def dpmpp_3m(published: bool = False, lower_final: bool = True) -> Multistep:
    """DPM-Solver++(3M). Third order; `published` halves its second derivative, as the authors' code and diffusers do,
    which makes it second order."""
    return Multistep(3, DATA, curvature=0.5 if published else 1.0, lower_final=lower_final)


def dpm_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """DPM-Solver 2M in the noise view."""
    return Multistep(2, NOISE, slope, lower_final=lower_final)


def sde_dpmpp_1(noise: NoiseSource | None = None) -> Multistep:
    """SDE-DPM-Solver++(1): the exact posterior step of DDPM (Ho et al. 2020, arXiv 2006.11239) over any stride."""
    return Multistep(1, DIFFUSION, noise=noise or Noise())


def sde_dpmpp_2m(slope: Slope = midpoint, noise: NoiseSource | None = None) -> Multistep:
    """SDE-DPM-Solver++(2M)."""
    return Multistep(2, DIFFUSION, slope, noise=noise or Noise())
