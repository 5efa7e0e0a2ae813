"""Accelerations of the sampling of an edit: skipped calls or blocks, and steps that are evaluated together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from fastdiff.apps.edit import cache_plan
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.levels import levels
from fastdiff.apps.edit.presets import Preset
from fastdiff.models.acceleration.calibration import Calibration, calibrate
from fastdiff.models.acceleration.registry import Cache, Stack, cached, for_budget
from fastdiff.models.acceleration.rules import FirstBlock, TeaCache
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, Step, integrate, steps_of
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.sada_budget import sada_for_budget
from fastdiff.solvers.solver_wrapper import SolverWrapper

TOLERANCE = 0.03  # of parallel runs: one round more than with 0.1, and much nearer to the plain run

S = TypeVar("S")
Watch = Callable[[Progress], None]


class AcceleratedRun(NamedTuple):
    """The result of a run, with its cost."""

    x: Tensor  # (B, ...) state at the last noise level
    calls: int  # of the network, one after another
    equivalent_calls: float  # calls of the whole network on the B rows that cost as much


class Acceleration(Protocol):
    """A way to run a solver over a grid at a lower cost or depth.

    `inverts`: whether it also runs upwards, over a rising grid.
    """

    @property
    def inverts(self) -> bool: ...

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        """Run from x (B, ...) at the first level of the grid to its last, as `fastdiff.solvers.integrate` does.

        Raises UsageError for a solver or a network that the acceleration does not know.
        """
        ...


@dataclass(frozen=True)
class Unaccelerated:
    """The plain run."""

    inverts = False

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        return _run(f, solver, x, grid, watch)


@dataclass(frozen=True)
class Skipping:
    """SADA around the solver, which skips calls up to a budget, a share of those of a plain run."""

    budget: float
    inverts: bool

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        return _run(f, sada_for_budget(solver, grid, self.budget), x, grid, watch)


@dataclass(frozen=True)
class Caching:
    """A cache of blocks of the network. Rows that attention control lets read each other make one decision."""

    cache: Cache

    @property
    def inverts(self) -> bool:
        """True if the cache follows the features of a run; schedules were made for falling noise."""
        return isinstance(self.cache, Stack) and isinstance(self.cache.rule, FirstBlock | TeaCache)

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        caching = cached(self.cache, f, f.network, grid, solver, coupled=not f.same_at_all_levels)
        return _run(caching, solver, x, grid, watch)._replace(equivalent_calls=caching.cost)


@dataclass(frozen=True)
class Parallel:
    """ParaDiGMS: evaluates up to `window` steps together, and again until they agree. It calls `watch` at the end."""

    window: int

    inverts = True

    def run(self, f: ControlledDenoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
        recording = Recording(solver)
        result = integrate_parallel(f, recording, x, grid, window=self.window, tolerance=TOLERANCE)
        for step in steps_of(grid):
            watch(Progress(step, recording.ends[step.index]))
        return AcceleratedRun(result.x, result.rounds, result.evaluations)


@dataclass(frozen=True, eq=False)
class Recording(SolverWrapper[S]):
    """Records the state after every step of `inner`; a step that is repeated replaces its state."""

    ends: dict[int, Tensor] = field(default_factory=dict)  # by index of the step

    def init(self, grid: Grid) -> S:
        return self.inner.init(grid)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        x, state = self.inner.step(f, x, step, state)
        self.ends[step.index] = x
        return x, state


def acceleration_of(choice: AccelerationChoice, model: EditableModel, preset: Preset) -> Acceleration:
    """Return the acceleration of a choice. Caches are calibrated on one plain run of the model, as the preset samples.

    Raises UsageError for a budget that it cannot meet, and for a network that it does not know.
    """
    if choice.parallel is not None:
        return Parallel(choice.parallel)
    if choice.name is None:
        return Unaccelerated()
    if choice.name == "sada":
        grid = grid_of(model, preset)
        sada_for_budget(DDIM(), grid, choice.aim)
        return Skipping(choice.aim, inverts=_meets(choice.aim, grid[::-1]))
    if choice.file is not None:
        return Caching(cache_plan.found(choice.file, model.name, preset, grid_of(model, preset)))
    return Caching(for_budget(choice.name, calibration_of(model, preset), choice.aim))


def calibration_of(model: EditableModel, preset: Preset) -> Calibration:
    """Return the changes of features in a plain run of the model, from noise over grey to what the empty prompt makes.

    Equal models and presets give equal calibrations.
    """
    size = (model.resolution, model.resolution)
    grid = grid_of(model, preset)
    f = guided_denoiser(model, model.empty_prompt, preset.guidance, size)
    grey = model.encode(torch.zeros(1, 3, *size))
    x = grid[0].alpha * grey + grid[0].sigma * Noise(0)(grey)
    return calibrate(f, model.network, DDIM(), grid, x)


def grid_of(model: EditableModel, preset: Preset) -> Grid:
    """Return the levels of edits of square pictures."""
    return levels(preset, model.scheduler((model.resolution, model.resolution)).schedule)


def _meets(budget: float, grid: Grid) -> bool:
    """Return whether SADA meets a budget over this grid."""
    try:
        sada_for_budget(DDIM(), grid, budget)
    except UsageError:
        return False
    return True


def _run(f: Denoiser, solver: Solver[Any], x: Tensor, grid: Grid, watch: Watch) -> AcceleratedRun:
    counted = CountingDenoiser(f)
    x = integrate(counted, solver, x, grid, watch=watch).x
    return AcceleratedRun(x, counted.tally.nfe, counted.tally.nfe)
