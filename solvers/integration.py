"""The one loop: a solver's step, repeated over a grid. Falling noise samples, rising noise inverts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, Self, TypeGuard, TypeVar, runtime_checkable

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.noise import NoiseSource
from fastdiff.solvers.schedule import Level

S = TypeVar("S")


@dataclass(frozen=True)
class Step:
    """One step of a run: where it stands, and which levels it leads from and to."""

    index: int  # from 0
    total: int  # steps of the run
    t: Level  # where it starts
    u: Level  # where it ends

    @property
    def left(self) -> int:
        """Steps to go, this one included."""
        return self.total - self.index

    @property
    def reverse(self) -> "Step":
        """The step of the opposite run that leads from u to t."""
        return Step(self.left - 1, self.total, self.u, self.t)


class Solver(Protocol[S]):
    """A rule for one step, with its memory passed in and out."""

    @property
    def order(self) -> int: ...  # of convergence, in the length of a step in lam
    @property
    def nfe_per_step(self) -> int: ...  # denoiser calls a step, at most
    @property
    def one_step(self) -> bool: ...  # whether a step needs nothing from those before it
    @property
    def stochastic(self) -> bool: ...  # whether it adds noise, and so cannot invert

    def init(self, grid: Grid) -> S:
        """The memory before the first step of a run over this grid."""
        ...

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        """Move x (B, ...) from level step.t to level step.u."""
        ...


class StochasticSolver(Solver[S], Protocol[S]):
    """A solver whose noise can be chosen."""

    def with_noise(self, noise: NoiseSource) -> Self:
        """The same solver with this noise: called with the state and the number of the step, from 1."""
        ...


class Transition(NamedTuple, Generic[S]):
    """A step before its noise: the state at the end is N(mean, deviation^2)."""

    mean: Tensor  # (B, ...)
    deviation: float
    state: S  # the memory after the step


@runtime_checkable
class RecordableSolver(StochasticSolver[S], Protocol[S]):
    """A solver whose steps are a transition and independent noise, which inversion can record."""

    @property
    def noise(self) -> NoiseSource | None: ...  # None: the solver is deterministic as it is

    def transition(self, f: Denoiser, x: Tensor, step: Step, state: S) -> Transition[S]:
        """The step before its noise. The memory after it does not depend on the noise."""
        ...


def is_recordable(solver: Solver) -> TypeGuard[RecordableSolver]:
    """Whether the solver adds noise that an inversion can record."""
    return solver.stochastic and isinstance(solver, RecordableSolver)


@dataclass(frozen=True)
class Progress:
    """What a watcher sees after each step."""

    step: Step
    x: Tensor  # (B, ...) state at its end


@dataclass(frozen=True)
class Trajectory(Generic[S]):
    """The end of a run."""

    x: Tensor  # (B, ...) state at the grid's last level
    state: S  # the solver's memory, with which a run goes on


def integrate(
    f: Denoiser,
    solver: Solver[S],
    x: Tensor,
    grid: Sequence[Level],
    *,
    first: int = 0,
    last: int | None = None,
    state: S | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Trajectory[S]:
    """Carry x (B, ...) from the first level of the grid to the last, or from level `first` to level `last` of it.

    x keeps its dtype and device. `state` is the memory with which a run reached level `first`, and resumes it. `watch`
    is called after each step; what it raises ends the run.

    Raises UsageError for a grid that is not strictly monotone, starts at sigma 0, or rises under a stochastic solver.
    """
    levels = tuple(grid)
    _check(levels, solver)
    f = f.fresh()
    state = solver.init(levels) if state is None else state
    for step in steps_of(levels)[first:last]:
        x, state = solver.step(f, x, step, state)
        if watch:
            watch(Progress(step, x))
    return Trajectory(x, state)


def steps_of(grid: Grid) -> list[Step]:
    """The steps of a run over the whole grid."""
    return [Step(index, len(grid) - 1, t, u) for index, (t, u) in enumerate(pairwise(grid))]


def _check(levels: Grid, solver: Solver) -> None:
    if len(levels) < 2:
        raise UsageError(f"a grid of {len(levels)} levels: give two or more")
    falls = [t.lam < u.lam for t, u in pairwise(levels)]
    if any(t.lam == u.lam for t, u in pairwise(levels)) or any(falls) != all(falls):
        raise UsageError("the noise levels of the grid repeat or turn back: they must rise or fall strictly")
    if levels[0].sigma == 0:
        raise UsageError("the grid starts at sigma 0: inversion starts from a first sigma above 0")
    if solver.stochastic and not all(falls):
        raise UsageError(f"{type(solver).__name__} adds noise and cannot invert: give a deterministic solver")
