"""Makes a cache for a model and a budget from plain runs of the model."""

from typing import Any

from torch import Tensor, nn

from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.models.acceleration.registry import Blocks, Cache, cached, for_budget
from fastdiff.models.acceleration.scale_shift import fit_scale_shift
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate

ROUNDS = 4  # runs at most that correct the cost of a cache


def prepare(
    name: str,
    budget: float,
    calibration: Calibration,
    f: Denoiser,
    network: nn.Module,
    solver: Solver[Any],
    grid: Grid,
    x: Tensor,
    *,
    coupled: bool = False,
) -> Cache:
    """Return the cache of this name whose runs from x (B, ...) cost at most `budget`, a share of a plain run in (0, 1].

    The setting comes from the calibration. A schedule of blocks then gets scales and shifts, in a run that costs a
    plain one. Features change otherwise in a run with a cache, and the cost of a cache that follows them with them:
    runs with a tighter setting follow until the budget is met, ROUNDS at most.

    Raises UsageError as `for_budget` and `cached` do.
    """
    cache, aim = for_budget(name, calibration, budget), budget
    if isinstance(cache, Blocks):
        cached(cache, f, network, grid, solver, coupled=coupled)
        return Blocks(fit_scale_shift(cache.schedule, f, network, solver, grid, x))
    for _ in range(ROUNDS):
        run = cached(cache, f, network, grid, solver, coupled=coupled)
        integrate(run, solver, x, grid)
        if (cost := run.cost / calibration.steps) <= budget:
            break
        aim *= budget / cost
        cache = for_budget(name, calibration, aim)
    return cache
