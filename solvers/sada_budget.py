"""The setting of SADA that meets a budget."""

from math import ceil
from typing import Any

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.sada import SADA

INTERVALS = tuple(quarters / 4 for quarters in range(4, 41))  # mean strides from evaluation to evaluation
ROUNDING = 1e-9  # of shares


def sada_for_budget(solver: Solver[Any], grid: Grid, budget: float) -> SADA[Any]:
    """Return SADA around the solver that evaluates most often within `budget`, a share of the N steps of a plain run.

    Raises UsageError for a budget below the steps that SADA evaluates in any case, and for solvers as `SADA` does.
    """
    least = 1.0
    for interval in INTERVALS:
        sada = SADA(solver, interval=interval, longest=ceil(interval) - 1)
        share = sum(skips == 0 for skips in sada.init(grid).plan) / (len(grid) - 1)
        if share <= budget + ROUNDING:
            return sada
        least = min(least, share)
    raise UsageError(f"sada in {len(grid) - 1} steps cannot meet a budget of {budget:g}: give {least:.2f} or more")
