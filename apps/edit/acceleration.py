"""Accelerations of the sampling of an edit: skipped network calls, and steps that are evaluated together."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.sada import SADA

ROUNDING = 1e-9  # of shares

Watch = Callable[[Progress], None]


class AcceleratedRun(NamedTuple):
    """The result of a run, with its cost."""

    x: Tensor  # (B, ...) state at the last noise level
    calls: int  # of the network, one after another
    equivalent_calls: float  # calls of the whole network on the B rows that cost as much


class Acceleration(Protocol):
    """A way to run a solver over a grid at a lower cost or depth."""

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        """Sample from x (B, ...) at the first level of the grid, as `fastdiff.solvers.integrate` does.

        Raises UsageError for a solver or a network that the acceleration does not know.
        """
        ...


@dataclass(frozen=True)
class Unaccelerated:
    """The plain run."""

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        counted = CountingDenoiser(f)
        x = integrate(counted, solver, x, grid, watch=watch).x
        return AcceleratedRun(x, counted.tally.nfe, counted.tally.nfe)


@dataclass(frozen=True)
class Skipping:
    """SADA around the solver. At most `longest` calls in a row are skipped; 0 skips none."""

    longest: int

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        return Unaccelerated().run(f, SADA(solver, longest=self.longest), x, grid, watch)


@dataclass(frozen=True)
class Parallel:
    """ParaDiGMS: evaluates up to `window` steps together, and again until they agree. `watch` is not called."""

    window: int

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        result = integrate_parallel(f, solver, x, grid, window=self.window)
        return AcceleratedRun(result.x, result.rounds, result.evaluations)


def skipping(budget: float) -> Skipping:
    """Return SADA with the fewest skips in a row that can leave a share of at most `budget` of the calls.

    The trajectory decides how many skips there are, so that a run costs the budget or more. Raises UsageError for a
    budget that the steps without skips exceed.
    """
    skippable = SADA.end - SADA.begin
    evaluated = budget - (1 - skippable)  # share of the run that may be evaluated among the skippable steps
    if evaluated <= ROUNDING:
        raise UsageError(
            f"sada with a budget of {budget:g}: it skips calls in the middle of a run alone, give more than "
            f"{1 - skippable:.2f}"
        )
    return Skipping(ceil(skippable / evaluated - ROUNDING) - 1)


def acceleration_of(choice: AccelerationChoice) -> Acceleration:
    """Return the acceleration of a choice. Raises UsageError for a budget that it cannot meet."""
    if choice.parallel is not None:
        return Parallel(choice.parallel)
    if choice.name == "sada":
        return skipping(choice.aim)
    return Unaccelerated()
