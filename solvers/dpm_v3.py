"""DPM-Solver-v3 (Zheng et al. 2023, arXiv 2310.13268, algorithms 1 and 2): steps along a network's average behaviour.

The part of the remainder f that the statistics predict is integrated exactly. The rest, g, hardly varies along a run: a
polynomial interpolates its last values. `fastdiff.solvers.tuning.v3` estimates the statistics of a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

import numpy as np
import torch
from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.exponential import KnownPrediction, positions
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.unipc import Memory, Origin
from fastdiff.solvers.v3_statistics import Statistics, integrals

ROUNDING = 1e-6  # in lam


@dataclass(frozen=True, eq=False)
class DPMv3:
    """A predictor of order `order`, 1 or more, and a corrector without extra evaluations. Exact for Gaussian data.

    `p_pseudo`: the predictor takes the k-th derivative of g from the k + 1 nearest values only, which is steadier in
    very few steps. `c_pseudo`: the corrector does the same, and uses one value more. `lower_final` as in Multistep.
    Convergence ends at the trapezoidal error of the statistics' nodes.

    Raises UsageError for an order below 1, for a grid outside the nodes, and for states of another shape.
    """

    statistics: Statistics
    order: int = 3
    corrector: bool = True
    p_pseudo: bool = False
    c_pseudo: bool = False
    lower_final: bool = True

    nfe_per_step = 1
    one_step = False
    stochastic = False

    def __post_init__(self) -> None:
        if self.order < 1:
            raise UsageError(f"DPM-Solver-v3 of order {self.order}: give 1 or more")

    def init(self, grid: Grid) -> Memory:
        low, high = self.statistics.nodes[0], self.statistics.nodes[-1]
        lams = [level.lam for level in grid if not isinf(level.lam)]
        if min(lams) < low - ROUNDING or max(lams) > high + ROUNDING:
            raise UsageError(
                f"a grid with lam from {min(lams):.4f} to {max(lams):.4f}: the statistics cover {low:.4f} to {high:.4f}"
            )
        return Memory()

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        t, u = step.t, step.u
        if not _fit(self.statistics.shape, x.shape[1:]):
            raise UsageError(f"states of {tuple(x.shape[1:])}: these statistics are of {tuple(self.statistics.shape)}")
        estimate = f(x, t)
        if isinf(t.lam):
            return renoise(estimate, u), Memory()
        arrived = KnownPrediction(t.lam, self._remainder(estimate, x, t))
        if state.origin is not None:
            x = self._corrected(x, t, state.origin, state.history, arrived)
        history = (arrived, *state.history)[: self.order]
        if isinf(u.lam):
            return renoise(estimate, u), Memory(history)
        used = history[: step.left] if self.lower_final else history
        origin = Origin(x, t, len(used)) if self.corrector else None
        return self._through(used, x, t, u, self.p_pseudo), Memory(history, origin)

    def _remainder(self, estimate: Estimate, x: Tensor, t: Level) -> Tensor:
        """Return f (B, ...). A correction of x does not change it: the correction moves eps along with x."""
        linear, _, _ = self.statistics.at(t.lam)
        return ((1 - linear) / t.alpha).to(x) * x - estimate.x0

    def _corrected(
        self, x: Tensor, t: Level, origin: Origin, history: Sequence[KnownPrediction], arrived: KnownPrediction
    ) -> Tensor:
        """Return the state at t corrected with the value there. A step of order 1 is unchanged without `c_pseudo`."""
        order = origin.order + self.c_pseudo
        if order == 1:
            return x
        used = (history[0], arrived, *history[1:])[:order]
        return self._through(used, origin.x, origin.level, t, self.c_pseudo)

    def _through(self, used: Sequence[KnownPrediction], x: Tensor, t: Level, u: Level, pseudo: bool) -> Tensor:
        """Step from t to u with g interpolated through `used`, whose first value lies at t."""
        whole = integrals(self.statistics, t.lam, u.lam, powers=len(used))
        shares = _derivatives([0.0, *positions(used[1:], t, u)], pseudo)
        fade = torch.exp(-whole.L)
        out = (fade * (u.alpha / t.alpha)).to(x) * x - (fade * whole.drift * u.alpha).to(x)
        for j, (lam, value) in enumerate(used):
            weight = sum(share[j] * power for share, power in zip(shares, whole.powers, strict=True))
            out = out - (fade * weight * u.alpha).to(x) * self._rest(value, t.lam, lam)
        return out

    def _rest(self, value: Tensor, start: float, lam: float) -> Tensor:
        """Return g (B, ...): the part of f at lam that the statistics do not predict, at the start of the step."""
        if lam == start:
            return value
        way = integrals(self.statistics, start, lam)
        return torch.exp(-way.S).to(value) * value - way.B.to(value)


def _derivatives(points: Sequence[float], pseudo: bool) -> list[list[float]]:
    """Return, for each k, the weight of the value at every point in the k-th derivative at the first, over k!."""
    shares = []
    for k in range(len(points)):
        nearest = points[: k + 1] if pseudo else points
        row = np.linalg.inv(np.vander(nearest, increasing=True))[k]
        shares.append([*row.tolist(), *[0.0] * (len(points) - len(nearest))])
    return shares


def _fit(own: Sequence[int], given: Sequence[int]) -> bool:
    """True if statistics of this shape, in which 1 stands for any size, are of samples of the given shape."""
    return len(own) == len(given) and all(a in (1, b) for a, b in zip(own, given, strict=True))
