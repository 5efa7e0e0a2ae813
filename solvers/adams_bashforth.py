"""Exponential Adams-Bashforth methods for the eps prediction: DEIS and iPNDM (Zhang and Chen 2022, arXiv 2204.13902).

DEIS, tAB, interpolates eps by a polynomial in the schedule's time. Its logrho variant, a polynomial in lam, is a
multistep exponential integrator; its rho variant is tAB on the EDM schedule, where time is sigma / alpha. The integrals
have no closed form for time as an arbitrary function of lam; quadrature computes them to rounding error for steps of up
to 5 in lam.

iPNDM is DDIM's step with an extrapolated eps. Its weights are those of Adams and Bashforth for equal strides, on every
grid. The full order needs equal strides of sigma / alpha; other smooth grids give second order.
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
    """The multistep rule of DEIS. Ignores `slope` and `curvature`."""

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
    """DEIS tAB of order 1 to 3. Order 1 is DDIM. `lower_final` as in Multistep.

    Raises UsageError for another order.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"DEIS of order {order}: give 1, 2 or 3")
    return TimePolynomial(order, EPS, lower_final=lower_final)


class EqualStrides(Multistep):
    """The multistep rule of iPNDM. Ignores `slope` and `curvature`."""

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[KnownPrediction]) -> list[float]:
        whole = expm1(u.lam - t.lam)
        return [whole * share for share in ADAMS_BASHFORTH[len(used) - 1]]


def ipndm(order: int = 4, lower_final: bool = True) -> Multistep:
    """iPNDM with up to `order` predictions, 1 to 4.

    `lower_final` as in Multistep. Raises UsageError for another order.
    """
    if not 1 <= order <= len(ADAMS_BASHFORTH):
        raise UsageError(f"iPNDM of order {order}: give 1 to {len(ADAMS_BASHFORTH)}")
    return EqualStrides(order, EPS, lower_final=lower_final)
