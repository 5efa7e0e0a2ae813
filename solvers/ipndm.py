"""iPNDM (Zhang and Chen 2022, arXiv 2204.13902): DDIM's step with an extrapolated noise estimate.

The weights are those of Adams and Bashforth for equal strides, whatever the strides are. The step reaches its full
order where they are equal in sigma / alpha, and second order on other smooth grids.
"""

from collections.abc import Sequence
from math import expm1

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import NOISE, Known
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import Level, Schedule

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


class EqualStrides(Multistep):
    """`slope` and `curvature` play no part."""

    def terms(self, schedule: Schedule, t: Level, u: Level, used: Sequence[Known]) -> list[float]:
        whole = expm1(u.lam - t.lam)
        return [whole * share for share in ADAMS_BASHFORTH[len(used) - 1]]


def ipndm(order: int = 4, lower_final: bool = True) -> Multistep:
    """From 1 to 4 estimates, as many as `order`; `lower_final` as in Multistep. Raises UsageError for another order."""
    if not 1 <= order <= len(ADAMS_BASHFORTH):
        raise UsageError(f"iPNDM of order {order}: give 1 to {len(ADAMS_BASHFORTH)}")
    return EqualStrides(order, NOISE, lower_final=lower_final)
