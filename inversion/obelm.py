"""O-BELM (Wang et al. 2024, arXiv 2410.07273): a two-step solver that is its own inverse.

A step relates the states at three neighbouring levels to eps at the middle one. It can be solved for either end, so a
run continues backwards exactly from its last two states, for any network.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from torch import Tensor

from fastdiff.inversion.batching import repeat_rows
from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.reversed import integrate_upwards
from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level


class Neighbour(NamedTuple):
    """The second state of the pair."""

    level: Level
    x: Tensor  # (B, ...)


@dataclass(frozen=True, eq=False)
class OBELM:
    """One evaluation per step, second order in both directions. A call inverts pictures.

    A run starts with the state `second` (B, ...) at the second level of its grid, without evaluation; without `second`
    it starts with a DDIM step. Steps at a level without signal are DDIM steps too, and cannot be inverted.
    """

    second: Tensor | None = None

    order = 2
    nfe_per_step = 1
    one_step = False
    stochastic = False

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        states, _ = integrate_upwards(f, self, x0, grid)
        return InversionPath(replace(self, second=states[1]), states)

    def init(self, grid: Grid) -> Neighbour | None:
        return None if self.second is None else Neighbour(grid[1], self.second)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Neighbour | None) -> tuple[Tensor, Neighbour]:
        """`state` is the previous state, or the next one after a run reverses."""
        t, u = step.t, step.u
        after = Neighbour(t, x)
        if state is not None and state.level == u:
            return repeat_rows(state.x, len(x)), after
        estimate = f(x, t)
        if state is None or not all(isfinite(level.edm_sigma) for level in (state.level, t, u)):
            return renoise(estimate, u), after
        s = state.level
        ratio = (u.edm_sigma - t.edm_sigma) / (t.edm_sigma - s.edm_sigma)
        rest = (1 - ratio) * (1 + ratio) / t.alpha * x + ratio**2 / s.alpha * state.x
        return u.alpha * (rest + (u.edm_sigma - t.edm_sigma) * (1 + ratio) * estimate.eps), after
