"""DPM-Solver++(2S), algorithm 1 of Lu et al. 2022 (arXiv 2211.01095): a step with a second look half way in lam."""

from dataclasses import dataclass
from math import isinf

from torch import Tensor

from fastdiff.solvers.ddim import remix
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.exponential import DATA, advance, midpoint, weights
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step


@dataclass(frozen=True)
class DPMpp2S:
    """Two calls a step, second order; one call and first order where a level has no noise or no signal."""

    order = 2
    evals = 2
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        t, u = step.t, step.u
        first = f(x, t)
        if isinf(u.lam - t.lam):
            return remix(first, u), None
        middle = f.schedule.at((t.lam + u.lam) / 2)
        second = f(remix(first, middle), middle)
        frame = DATA.frame(t, u)
        return advance(frame, x, weights(frame.hh, [0.5], midpoint), [first.x0, second.x0]), None
