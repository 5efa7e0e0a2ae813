"""DEIS (Zhang and Chen 2022, arXiv 2204.13902), tAB: the noise view as a polynomial in the schedule's time.

A multistep exponential integrator is its logrho variant, a polynomial in lam; its rho variant is this one on the EDM
schedule, where time is sigma / alpha. In a time that may be any function of lam the integrals have no closed form. They
are done by quadrature, to rounding error for steps of up to 5 in lam.
"""

from collections.abc import Sequence
from math import exp, expm1

import numpy as np

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import NOISE, Known, polynomial_weights
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import Level, Schedule

NODES = [((1 + float(x)) / 2, float(w) / 2) for x, w in zip(*np.polynomial.legendre.leggauss(20), strict=True)]


class TimePolynomial(Multistep):
    """`slope` and `curvature` play no part."""

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[Known]) -> list[float]:
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
    return TimePolynomial(order, NOISE, lower_final=lower_final)
