"""Singlestep exponential integrators: steps with inner nodes and no memory of earlier steps.

A step of order o spans o steps of the grid: the levels between are its inner nodes, and every evaluation has a level of
its own. A grid of n steps costs n evaluations. `budget` distributes them over steps of at most the solver's order. (Lu
et al. 2022, arXiv 2206.00927 and 2211.01095.)
"""

from dataclasses import dataclass
from itertools import accumulate, chain
from math import isinf
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import X0, KnownPrediction, Parameterization, Slope, midpoint, taylor, through
from fastdiff.solvers.grids import Grid, Spacing
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level, Schedule


class Begun(NamedTuple):
    """An unfinished step."""

    x: Tensor  # (B, ...) state at its start
    level: Level
    known: tuple[KnownPrediction, ...] = ()  # oldest first


@dataclass(frozen=True)
class Singlestep:
    """Steps of order 1 to 3, one evaluation per step of the grid.

    States at inner nodes have a lower order. An order-3 step ends with the polynomial through its three predictions for
    the slope `taylor`; for another slope with the line through the first and the last, which has order 3 where the
    nodes tend to thirds. A step to or from a level without noise or without signal has order 1 throughout.

    Raises UsageError for another order.
    """

    order: int
    parameterization: Parameterization = X0
    slope: Slope = midpoint
    lower_final: bool = True  # as in `budget`

    nfe_per_step = 1
    stochastic = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise UsageError(f"a singlestep solver of order {self.order}: give 1, 2 or 3")

    @property
    def one_step(self) -> bool:
        return self.order == 1

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Begun | None) -> tuple[Tensor, Begun | None]:
        """`state` is the unfinished step that this step of the grid continues."""
        t, u = step.t, step.u
        order = self._order_at(step)
        estimate = f(x, t)
        begun = state or Begun(x, t)
        begun = begun._replace(known=(*begun.known, KnownPrediction(t.lam, self.parameterization.prediction(estimate))))
        after = begun if len(begun.known) < order else None
        if isinf(u.lam - begun.level.lam):
            return renoise(estimate, u), after
        return stage(self.parameterization, self.slope, begun, u, order), after

    def _order_at(self, step: Step) -> int:
        """Return the order of the solver's step that this step of the grid belongs to."""
        orders = budget(step.total, self.order, self.lower_final)
        return next(order for order, end in zip(orders, accumulate(orders), strict=True) if step.index < end)


def stage(parameterization: Parameterization, slope: Slope, begun: Begun, u: Level, order: int) -> Tensor:
    """Return the state at u, the next node or the end of a step of this order, from all predictions so far."""
    known = begun.known
    if order < 3:
        return through(parameterization, begun.x, begun.level, u, known, slope)
    if len(known) == 3 and slope is not taylor:
        known = (known[0], known[2])
    return through(parameterization, begun.x, begun.level, u, known, taylor)


def budget(nfe: int, order: int, lower_final: bool = True) -> tuple[int, ...]:
    """Return the orders, at most `order`, of the steps that `nfe` network evaluations are spent on.

    With `lower_final` the orders of "DPM-Solver-fast" (arXiv 2206.00927), whose last steps have a lower order: a single
    step of order 1 makes the whole run second order. Otherwise the orders are as equal as possible.
    """
    full, rest = divmod(nfe, order)
    if lower_final:
        orders = (3,) * (full - 1) + (2, 1) if order == 3 and not rest else (order,) * full + (rest,)
        return tuple(o for o in orders if o)
    steps = -(-nfe // order)
    lower, higher = divmod(nfe, steps)
    return (lower + 1,) * higher + (lower,) * (steps - higher)


def budgeted(spacing: Spacing, solver: Singlestep) -> Spacing:
    """Return a spacing for runs of this solver: `spacing` places its steps, equal strides of lam their inner nodes.

    Plain `spacing` gives every evaluation a level, so that step lengths follow their orders. The returned spacing is
    for runs that end above sigma 0; with equal strides of lam it is that of "DPM-Solver-fast".
    """

    def levels(schedule: Schedule, count: int) -> Grid:
        orders = budget(count - 1, solver.order, solver.lower_final)
        ends = spacing(schedule, len(orders) + 1)
        inner = [
            (t, *(schedule.at(t.lam + (u.lam - t.lam) * i / order) for i in range(1, order)))
            for order, t, u in zip(orders, ends, ends[1:], strict=False)
        ]
        return (*chain.from_iterable(inner), ends[-1])

    return levels
