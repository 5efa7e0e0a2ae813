"""Exponential Adams-Bashforth methods in the noise view: DEIS and iPNDM (Zhang and Chen 2022, arXiv 2204.13902).

DEIS, tAB: the noise view as a polynomial in the schedule's time. A multistep exponential integrator is its logrho
variant, a polynomial in lam; its rho variant is this one on the EDM schedule, where time is sigma / alpha. In a time
that may be any function of lam the integrals have no closed form. They are done by quadrature, to rounding error for
steps of up to 5 in lam.

iPNDM: DDIM's step with an extrapolated noise estimate. The weights are those of Adams and Bashforth for equal strides,
whatever the strides are. The step reaches its full order where they are equal in sigma / alpha, and second order on
other smooth grids.
"""

from collections.abc import Sequence
from math import exp, expm1

import numpy as np

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import EPS, KnownPrediction, polynomial_weights
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import Level, Schedule

NODES = [((1 + float(x)) / 2, float(w) / 2) for x, w in zip(*np.polynomial.legendre.leggauss(20), strict=True)]
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


class TimePolynomial(Multistep):
    """`slope` and `curvature` play no part."""

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[KnownPrediction]) -> list[float]:
        h = u.lam - t.lam
        begin, end = (schedule.at(level.lam).t for level in (t, u))

        def position(lam: float) -> float:
            return (schedule.at(lam).t - begin) / (end - begin)

        measure = [(position(t.lam + r * h), w * h * exp((1 - r) * h)) for r, w in NODES]
        powers = range(1, len(used))
        integrals = [expm1(h), *(sum(mass * place**power for place, mass in measure) for power in powers)]
        return polynomial_weights([position(known.lam) for known in used], integrals)


def deis(order: int = 3, lower_final: bool = True) -> Multistep:
    """tAB of order 1 to 3, the first of which is DDIM; `lower_final` as in Multistep.

    Raises UsageError for another order.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"DEIS of order {order}: give 1, 2 or 3")
    return TimePolynomial(order, EPS, lower_final=lower_final)


class EqualStrides(Multistep):
    """`slope` and `curvature` play no part."""

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[KnownPrediction]) -> list[float]:
        whole = expm1(u.lam - t.lam)
        return [whole * share for share in ADAMS_BASHFORTH[len(used) - 1]]


def ipndm(order: int = 4, lower_final: bool = True) -> Multistep:
    """From 1 to 4 estimates, as many as `order`; `lower_final` as in Multistep. Raises UsageError for another order."""
    if not 1 <= order <= len(ADAMS_BASHFORTH):
        raise UsageError(f"iPNDM of order {order}: give 1 to {len(ADAMS_BASHFORTH)}")
    return EqualStrides(order, EPS, lower_final=lower_final)
