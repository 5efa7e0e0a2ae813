"""The threshold at which a cache meets a budget. Imports no torch."""

from collections.abc import Callable

from fastdiff.solvers.errors import UsageError

FEWEST_STEPS = 11  # of runs in which something can be saved
LARGEST = 2.0**40  # threshold that stands for infinity
PRECISION = 2.0**-20  # of a threshold, relative


def smallest_threshold(cost: Callable[[float], float], budget: float) -> float:
    """Return the smallest threshold with cost(threshold) <= budget. `cost` falls, from 1 at threshold 0.

    budget: a share of a plain run, in (0, 1]. Raises UsageError for another one, and for one that no threshold meets.
    """
    check_budget(budget)
    if cost(0.0) <= budget:
        return 0.0
    if (least := cost(LARGEST)) > budget:
        raise UsageError(f"a budget of {budget:g}: the steps and blocks that must compute cost {least:.3f}")
    low, high = 1 / LARGEST, LARGEST
    while high / low > 1 + PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cost(middle) <= budget else (middle, high)
    return high


def check_budget(budget: float) -> None:
    """Raise UsageError for a budget that is no share of a plain run in (0, 1]."""
    if not 0 < budget <= 1:
        raise UsageError(f"a budget of {budget:g}: give a share of a plain run, above 0 and at most 1")
