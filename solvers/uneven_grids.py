"""Grids whose steps are too uneven in log SNR for a solver, found from the levels alone.

Multistep solvers that interpolate in lam amplify their errors where a step is much longer than the one before it, and
the corrector of UniPC where a step upwards is long. The ends of flows have such steps: equal strides of time are there
long in lam. `python -m benchmarks.solvers --only flow` measures both rules.
"""

from itertools import pairwise
from math import isfinite
from typing import Any

from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.unipc import UniPC

GROWTH = 4.0  # of a step over the one before it, from which interpolation in lam harms
LONGEST_RISE = 1.0  # in lam, of a step upwards, from which UniPC's corrector harms
BETTER = "deis"  # which interpolates in time; it had less error in nearly all runs that warn, in closed form or not


def warning_of(solver: Solver[Any], grid: Grid) -> str | None:
    """Return a sentence that names a better solver, if the steps of a rising or falling grid harm this one."""
    strides = [u.lam - t.lam for t, u in pairwise(grid)]
    if any(stride < 0 for stride in strides):
        longest = max(-stride for stride in strides)
        if isinstance(solver, UniPC) and solver.corrector and longest > LONGEST_RISE:
            return f"the steps are too long for the corrector of UniPC to invert: {BETTER} is better, or more steps"
        return None
    growth = step_growth(grid)
    if growth > GROWTH and _interpolates_in_lam(solver):
        return (
            f"a step of this grid is {growth:.1f} times as long in log SNR as the one before it, which harms this "
            f"solver: {BETTER} is mostly better"
        )
    return None


def step_growth(grid: Grid) -> float:
    """Return how many times as long in lam a step is as the one before it, at most, before the last step of a run.

    Steps from or to a level without noise or without signal are of first order and do not count, nor does the last one.
    """
    strides = [u.lam - t.lam for t, u in pairwise(grid[:-1])]
    return max((b / a for a, b in pairwise(strides) if isfinite(a) and isfinite(b)), default=1.0)


def _interpolates_in_lam(solver: Solver[Any]) -> bool:
    """True for solvers of the DPM family and UniPC; DEIS and iPNDM interpolate in time."""
    return isinstance(solver, UniPC) or (type(solver) is Multistep and solver.order > 1 and not solver.stochastic)
