"""DPM-Solver-12 and -23 (Lu et al. 2022, arXiv 2206.00927, appendix C): the error of each step chooses the next level.

A solution one order lower, which costs no further evaluation, estimates the error. Items need different levels, and a
denoiser evaluates one level at a time, so items are solved one after another. No item changes another item's result.
"""

from dataclasses import dataclass
from math import copysign, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import X0, KnownPrediction, Parameterization, midpoint
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.singlestep import Begun, stage

FIRST = 0.05  # length of the first step in lam
CAUTION = 0.9  # safety factor of the step length that the last error allows
NEGLIGIBLE = 1e-12  # least error, in units of the tolerance


class Adapted(NamedTuple):
    """Result of adaptive runs, one per item of the batch of B."""

    x: Tensor  # (B, ...)
    nfe: tuple[int, ...]  # network evaluations
    rejected: tuple[int, ...]  # number of rejected steps


@dataclass(frozen=True)
class Adaptive:
    """An adaptive run of order 2 or 3, started by a call.

    A step is accepted if it differs from the step one order lower by at most the tolerance, as root mean square over an
    item. The tolerance of an element is the larger of `absolute` and `relative` times its value.

    Raises UsageError for another order, and for tolerances outside `absolute` > 0 and `relative` >= 0.
    """

    order: int = 3
    parameterization: Parameterization = X0  # X0 or EPS
    absolute: float = 0.0078  # one of 256 greys of a picture in [-1, 1]
    relative: float = 0.05

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise UsageError(f"adaptive steps of order {self.order}: give 2 or 3")
        if not (self.absolute > 0 and self.relative >= 0):
            raise UsageError(f"tolerances of {self.absolute} and {self.relative}: give more than 0, and 0 or more")

    def __call__(self, f: Denoiser, x: Tensor, t: Level, u: Level) -> Adapted:
        """Solve x (B, ...) from level t to level u, in either direction. f gets one row at a time.

        A rejected step keeps its first evaluation, which the authors' code counts again.

        Raises UsageError for equal levels, for levels without noise or signal, and if no step is short enough.
        """
        if t.lam == u.lam or not (isfinite(t.lam) and isfinite(u.lam)):
            raise UsageError(f"adaptive steps from t = {t.t:g} to {u.t:g}: give two levels with both noise and signal")
        ends, nfe, rejected = zip(
            *(self._solve(CountingDenoiser(f.fresh()), row, t, u) for row in x[:, None]), strict=True
        )
        return Adapted(torch.cat(ends), nfe, rejected)

    def _solve(self, f: CountingDenoiser, x: Tensor, t: Level, u: Level) -> tuple[Tensor, int, int]:
        h, before, rejected = copysign(FIRST, u.lam - t.lam), x, 0
        begun = self._begin(f, x, t)
        while True:
            h = min(h, u.lam - begun.level.lam, key=abs)
            v = u if h == u.lam - begun.level.lam else f.schedule.at(begun.level.lam + h)
            low, high = self._pair(f, begun, v)
            error = self._error(low, high, before)
            if not isfinite(error) or v.lam == begun.level.lam:
                raise UsageError(f"the error at t = {begun.level.t:g} is {error:g}: allow more, or mend the network")
            if error > 1:
                rejected += 1
            elif v == u:
                return high, f.tally.nfe, rejected
            else:
                before, begun = low, self._begin(f, high, v)
            h *= CAUTION * max(error, NEGLIGIBLE) ** (-1 / self.order)

    def _begin(self, f: Denoiser, x: Tensor, t: Level) -> Begun:
        return Begun(x, t, (KnownPrediction(t.lam, self.parameterization.prediction(f(x, t))),))

    def _pair(self, f: Denoiser, begun: Begun, v: Level) -> tuple[Tensor, Tensor]:
        """Return the states at v by a step one order lower, and by a step of this order."""
        h = v.lam - begun.level.lam
        for i in range(1, self.order):
            node = f.schedule.at(begun.level.lam + h * i / self.order)
            estimate = f(stage(self.parameterization, midpoint, begun, node, self.order), node)
            begun = begun._replace(
                known=(*begun.known, KnownPrediction(node.lam, self.parameterization.prediction(estimate)))
            )
        low = stage(self.parameterization, midpoint, begun._replace(known=begun.known[:-1]), v, self.order - 1)
        return low, stage(self.parameterization, midpoint, begun, v, self.order)

    def _error(self, low: Tensor, high: Tensor, before: Tensor) -> float:
        allowed = (torch.maximum(low.abs(), before.abs()) * self.relative).clamp(min=self.absolute)
        return ((high - low) / allowed).square().mean().sqrt().item()
