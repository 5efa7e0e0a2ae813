"""The caches of network blocks by name, each with a setting that meets a budget."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from torch import nn

from fastdiff.models.acceleration.block_cache import BlockCache
from fastdiff.models.acceleration.block_schedule import BlockSchedule, schedule_by_budget
from fastdiff.models.acceleration.budget import check_budget, smallest_threshold
from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps, Rule, TeaCache
from fastdiff.models.acceleration.simulation import cost_of_first_block, cost_of_teacache
from fastdiff.models.acceleration.stack_cache import StackCache
from fastdiff.models.acceleration.step_schedules import by_change, by_magnitude
from fastdiff.models.acceleration.token_cache import TokenCache, partial_calls
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.sada import SADA
from fastdiff.solvers.solver_wrapper import solvers_within
from fastdiff.solvers.validation import check_name

RETENTION = 0.2  # of a run, its first steps that MagCache computes
LONGEST = 3  # steps in a row that MagCache skips
FEWEST_TOKENS = 1 / 16  # share of the tokens that a partial call computes at least
MOST_PARTIAL = 4  # partial calls in a row, as in SADA's code


class Cache(Protocol):
    """A cache with its setting, for runs over any grid of N steps."""

    def denoiser(self, f: Denoiser, network: nn.Module, grid: Grid, *, coupled: bool) -> CachedDenoiser:
        """Return f with the cache in `network`. With `coupled` all rows make one decision."""
        ...


@dataclass(frozen=True)
class Stack:
    """A cache of what all blocks add, by a rule, with forecasts of an order."""

    rule: Rule
    order: int = 0

    def denoiser(self, f: Denoiser, network: nn.Module, grid: Grid, *, coupled: bool) -> CachedDenoiser:
        return StackCache(f, network, grid, self.rule, self.order, coupled)


@dataclass(frozen=True, eq=False)
class Blocks:
    """A cache of what each block adds, by a schedule, which makes one decision for all rows."""

    schedule: BlockSchedule

    def denoiser(self, f: Denoiser, network: nn.Module, grid: Grid, *, coupled: bool) -> CachedDenoiser:
        return BlockCache(f, network, grid, self.schedule)


@dataclass(frozen=True)
class Tokens:
    """A cache of what all blocks add to each token, of which a share computes in at most `longest` calls in a row."""

    share: float
    longest: int

    def denoiser(self, f: Denoiser, network: nn.Module, grid: Grid, *, coupled: bool) -> CachedDenoiser:
        if coupled:
            raise UsageError("a cache of tokens under attention control, which changes what tokens read: give another")
        return TokenCache(f, network, grid, self.share, self.longest)


def _first_block(calibration: Calibration, budget: float) -> Cache:
    def cost(threshold: float) -> float:
        return cost_of_first_block(calibration, FirstBlock(threshold))

    return Stack(FirstBlock(smallest_threshold(cost, budget)))


def _teacache(calibration: Calibration, budget: float) -> Cache:
    def cost(threshold: float) -> float:
        return cost_of_teacache(calibration, TeaCache(threshold))

    return Stack(TeaCache(smallest_threshold(cost, budget)))


def _taylor(calibration: Calibration, budget: float) -> Cache:
    """Forecasts of TaylorSeer, between steps that follow the change of features in place of a constant interval."""
    changes = calibration.stack.mean(0).tolist()

    def cost(threshold: float) -> float:
        return calibration.cost_of_steps(by_change(changes, threshold))

    return Stack(FixedSteps(by_change(changes, smallest_threshold(cost, budget))), order=1)


def _magcache(calibration: Calibration, budget: float) -> Cache:
    check_budget(budget)
    ratios = calibration.ratios.mean(0).tolist()
    kept = min(RETENTION, budget / 2)
    longest = max(LONGEST, ceil((1 - kept) / (budget - kept)))

    def steps(threshold: float) -> frozenset[int]:
        skips = longest if threshold > 0 else 0
        return by_magnitude(ratios, threshold, longest=skips, first=ceil(kept * len(ratios)))

    return Stack(FixedSteps(steps(smallest_threshold(lambda each: calibration.cost_of_steps(steps(each)), budget))))


def _tokens(calibration: Calibration, budget: float) -> Cache:
    """The fewest partial calls in a row that meet the budget, and the share of the tokens that it leaves to them.

    On the bundled model few partial calls in a row with few tokens follow the full run better than many with more. The
    share takes all work of blocks for that of the picture's tokens; a text beside them costs a little more.
    """
    check_budget(budget)
    if budget == 1:
        return Tokens(1.0, 0)
    steps, saved = calibration.steps, 0.0
    for longest in range(1, MOST_PARTIAL + 1):
        partial = partial_calls(steps, longest) / steps * sum(calibration.shares)
        saved = partial * (1 - FEWEST_TOKENS)
        if saved >= 1 - budget:
            return Tokens(1 - (1 - budget) / partial, longest)
    raise UsageError(f"a budget of {budget:g}: the calls and tokens that must compute cost {1 - saved:.3f}")


CACHES: dict[str, Callable[[Calibration, float], Cache]] = {
    "blocks": lambda calibration, budget: Blocks(schedule_by_budget(calibration, budget)),
    "first-block": _first_block,
    "teacache": _teacache,
    "taylor": _taylor,
    "magcache": _magcache,
    "tokens": _tokens,
}  # by name, of a calibration and a budget, a share of a plain run in (0, 1]


def for_budget(name: str, calibration: Calibration, budget: float) -> Cache:
    """Return the cache of this name whose runs cost `budget`, a share of a plain run in (0, 1].

    Raises UsageError for an unknown name, and for a budget that the cache cannot meet.
    """
    check_name("cache", name, CACHES)
    return CACHES[name](calibration, budget)


def cached(
    cache: Cache, f: Denoiser, network: nn.Module, grid: Grid, solver: Solver[Any], *, coupled: bool = False
) -> CachedDenoiser:
    """Return f with a cache in `network`, for runs of `solver` over `grid`.

    With `coupled`, rows of a call make one decision, as attention control needs, where rows read each other.

    Raises UsageError for a stochastic solver, for one of several evaluations per step, for SADA, and for a network
    whose blocks caches do not know.
    """
    name = type(solver).__name__
    if any(isinstance(each, SADA) for each in solvers_within(solver)):
        raise UsageError("a cache under SADA: both skip evaluations, and SADA takes reuse for a straight run, give one")
    if solver.stochastic:
        raise UsageError(f"a cache under {name}, which adds noise: features change with it, give another solver")
    if solver.nfe_per_step != 1:
        raise UsageError(f"a cache under {name}: give a solver of one evaluation per step")
    return cache.denoiser(f, network, grid, coupled=coupled)
