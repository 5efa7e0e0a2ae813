"""Makes a cache for a model and a budget from plain runs of the model."""

from typing import Any

from torch import Tensor, nn

from fastdiff.models.acceleration.block_cache import BlockCache
from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.models.acceleration.registry import Blocks, Cache, Stack, cached, for_budget
from fastdiff.models.acceleration.rules import FixedSteps
from fastdiff.models.acceleration.scale_shift import fit_scale_shift
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import row_norms

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
    """Return the cache of this name for runs from states like x (B, ...) at `budget`, a share of a plain run in (0, 1].

    The setting comes from the calibration. A schedule of blocks then gets scales and shifts if they help items that
    they are not fitted on; that costs five plain runs at most. The cost of a dynamic cache follows features, which are
    others in a run with a cache: runs with tighter settings follow until the budget is met, ROUNDS at most.

    Raises UsageError as `for_budget` and `cached` do.
    """
    cache, aim = for_budget(name, calibration, budget), budget
    run = cached(cache, f, network, grid, solver, coupled=coupled)
    if isinstance(cache, Blocks):
        return Blocks(_adjusted(cache.schedule, f, network, solver, grid, x))
    if isinstance(cache, Stack) and isinstance(cache.rule, FixedSteps):
        return cache
    for _ in range(ROUNDS):
        integrate(run, solver, x, grid)
        if (cost := run.cost / calibration.steps) <= budget:
            break
        aim *= budget / cost
        cache = for_budget(name, calibration, aim)
        run = cached(cache, f, network, grid, solver, coupled=coupled)
    return cache


def _adjusted(
    schedule: BlockSchedule, f: Denoiser, network: nn.Module, solver: Solver[Any], grid: Grid, x: Tensor
) -> BlockSchedule:
    """Return the schedule with scales and shifts of all items, if those of every other item bring the rest nearer.

    Nearer to the plain run, in the mean over items of the root mean square error. A single item decides nothing.
    """
    fitting, held = range(0, len(x), 2), list(range(1, len(x), 2))
    if not held:
        return schedule
    plain = integrate(f, solver, x, grid).x[held]

    def error(each: BlockSchedule) -> float:
        end = integrate(BlockCache(f, network, grid, each), solver, x, grid).x[held]
        return float(read_back(row_norms(end - plain).mean()))

    halved = fit_scale_shift(schedule, f, network, solver, grid, x, fitting)
    return fit_scale_shift(schedule, f, network, solver, grid, x) if error(halved) < error(schedule) else schedule
