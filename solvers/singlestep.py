"""Singlestep exponential integrators: steps that look ahead of themselves and remember nothing afterwards.

A step of order o spans o steps of the grid, so the levels between are its inner nodes and every call has a level of its
own: n steps of the grid are n calls. How they are shared out among steps of at most the solver's order is the budget.
(Lu et al. 2022, arXiv 2206.00927 and 2211.01095.)
"""

from dataclasses import dataclass
from itertools import chain
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
    """A step that is under way."""

    x: Tensor  # (B, ...) state at its beginning
    level: Level
    known: tuple[KnownPrediction, ...] = ()  # oldest first


class Memory(NamedTuple):
    """What a singlestep run carries."""

    budget: tuple[int, ...]  # orders of the steps to come, the present one first
    begun: Begun | None = None


@dataclass(frozen=True)
class Singlestep:
    """Steps of order 1 to 3, one call for each step of the grid.

    The states after the inner nodes are right to a lower order. An order-3 step ends with the polynomial through its
    three values for `taylor`, for another slope with the line through the first and the last, which is of order 3 where
    its nodes tend to thirds. A step to or from a level without noise or without signal has order 1 throughout.

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

    def init(self, grid: Grid) -> Memory:
        return Memory(budget(len(grid) - 1, self.order, self.lower_final))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        t, u = step.t, step.u
        order, *later = state.budget
        estimate = f(x, t)
        begun = state.begun or Begun(x, t)
        begun = begun._replace(known=(*begun.known, KnownPrediction(t.lam, self.parameterization.prediction(estimate))))
        after = Memory(state.budget, begun) if len(begun.known) < order else Memory(tuple(later))
        if isinf(u.lam - begun.level.lam):
            return renoise(estimate, u), after
        return stage(self.parameterization, self.slope, begun, u, order), after


def stage(parameterization: Parameterization, slope: Slope, begun: Begun, u: Level, order: int) -> Tensor:
    """The state at u, the next node of a step of this order or its end, from all the values before it."""
    known = begun.known
    if order < 3:
        return through(parameterization, begun.x, begun.level, u, known, slope)
    if len(known) == 3 and slope is not taylor:
        known = (known[0], known[2])
    return through(parameterization, begun.x, begun.level, u, known, taylor)


def budget(nfe: int, order: int, lower_final: bool = True) -> tuple[int, ...]:
    """Orders, at most `order`, of the steps that `calls` calls are spent on.

    With `lower_final` those of "DPM-Solver-fast" (arXiv 2206.00927), whose last steps have a lower order:
    a single one of order 1 makes the whole run second order. Without, the orders are as even as they can be.
    """
    full, rest = divmod(nfe, order)
    if lower_final:
        orders = (3,) * (full - 1) + (2, 1) if order == 3 and not rest else (order,) * full + (rest,)
        return tuple(o for o in orders if o)
    steps = -(-nfe // order)
    lower, higher = divmod(nfe, steps)
    return (lower + 1,) * higher + (lower,) * (steps - higher)


def budgeted(spacing: Spacing, solver: Singlestep) -> Spacing:
    """A spacing for runs of this solver, `spacing` placing its steps and equal strides of lam their inner nodes.

    The levels of `spacing` itself, one for every call, let the lengths of the steps follow their orders instead. This
    one is for runs that end above sigma 0, and is what "DPM-Solver-fast" does with equal strides of lam.
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
