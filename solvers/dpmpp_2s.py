"""DPM-Solver++(2S), algorithm 1 of Lu et al. 2022 (arXiv 2211.01095): a second evaluation half way in lam."""

from dataclasses import dataclass
from math import isinf

from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.exponential import X0, advance, midpoint, weights
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step


@dataclass(frozen=True)
class DPMpp2S:
    """Two evaluations per step, second order.

    One evaluation and first order at a level without noise or without signal.
    """

    order = 2
    nfe_per_step = 2
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        t, u = step.t, step.u
        first = f(x, t)
        if isinf(u.lam - t.lam):
            return renoise(first, u), None
        middle = f.schedule.at((t.lam + u.lam) / 2)
        second = f(renoise(first, middle), middle)
        coefficients = X0.coefficients(t, u)
        return advance(coefficients, x, weights(coefficients.hh, [0.5], midpoint), [first.x0, second.x0]), None
