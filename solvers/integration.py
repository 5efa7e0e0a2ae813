"""The sampling loop and the solver protocol. Falling noise samples; rising noise inverts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeGuard, TypeVar, runtime_checkable

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.noise import NoiseSource
from fastdiff.solvers.schedule import Level

S = TypeVar("S")


@dataclass(frozen=True)
class Step:
    """One step of a run: its position in the run, and its two noise levels."""

    index: int  # from 0
    total: int  # steps of the run
    t: Level  # noise level at the start
    u: Level  # noise level at the end

    @property
    def left(self) -> int:
        """Number of remaining steps, including this one."""
        return self.total - self.index

    @property
    def reverse(self) -> "Step":
        """The step from u to t in the run over the reversed grid."""
        return Step(self.left - 1, self.total, self.u, self.t)


class Solver(Protocol[S]):
    """A rule for one step. Its state between steps (history of estimates) is passed in and returned.

    `order`: order of convergence in the step length in lam. `nfe_per_step`: network evaluations per step, at most.
    `one_step`: True if a step needs nothing from earlier steps. `stochastic`: True if steps add noise; such a solver
    cannot invert.
    """

    @property
    def order(self) -> int: ...
    @property
    def nfe_per_step(self) -> int: ...
    @property
    def one_step(self) -> bool: ...
    @property
    def stochastic(self) -> bool: ...

    def init(self, grid: Grid) -> S:
        """Return the solver state before the first step of a run over this grid."""
        ...

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        """Advance x (B, ...) from noise level step.t to noise level step.u. Return the new x and solver state."""
        ...


class StochasticSolver(Solver[S], Protocol[S]):
    """A solver whose noise source can be replaced."""

    def with_noise(self, noise: NoiseSource) -> Self:
        """Return the same solver with this noise source, which is called with (x, step number from 1)."""
        ...


class Transition(NamedTuple, Generic[S]):
    """Distribution of the state at the end of a stochastic step: N(mean, deviation^2)."""

    mean: Tensor  # (B, ...)
    deviation: float
    state: S  # solver state after the step


@runtime_checkable
class RecordableSolver(StochasticSolver[S], Protocol[S]):
    """A stochastic solver whose step is a transition plus independent noise, so inversion can record the noise.

    `noise` is None if the solver is deterministic as configured.
    """

    @property
    def noise(self) -> NoiseSource | None: ...

    def transition(self, f: Denoiser, x: Tensor, step: Step, state: S) -> Transition[S]:
        """Return the step's transition. The solver state after the step must not depend on the noise."""
        ...


def is_recordable(solver: Solver[Any]) -> TypeGuard[RecordableSolver[Any]]:
    """True if the solver adds noise and inversion can record this noise."""
    return solver.stochastic and isinstance(solver, RecordableSolver)


@dataclass(frozen=True)
class Progress:
    """Argument of `watch`: the finished step and the state after it."""

    step: Step
    x: Tensor  # (B, ...) state at step.u


@dataclass(frozen=True)
class Trajectory(Generic[S]):
    """Result of a run: the final state, and the solver state that resumes the run."""

    x: Tensor  # (B, ...) state at the last noise level
    state: S  # solver state


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
    """Run the solver over the grid, from x (B, ...) at its first noise level to its last.

    x keeps dtype and device. `first` and `last` select steps first..last-1 of the run over this grid; x is then the
    state at level `first`, and `state` the solver state with which an earlier run reached this level. Calls `watch`
    after each step; an exception from `watch` ends the run.

    Raises UsageError for a grid that is not strictly monotone or starts at sigma 0, and for a rising grid with a
    stochastic solver.
    """
    levels = tuple(grid)
    check_run(levels, solver)
    f = f.fresh()
    state = solver.init(levels) if state is None else state
    for step in steps_of(levels)[first:last]:
        x, state = solver.step(f, x, step, state)
        if watch:
            watch(Progress(step, x))
    return Trajectory(x, state)


def steps_of(grid: Grid) -> list[Step]:
    """Return the steps of a run over the whole grid."""
    return [Step(index, len(grid) - 1, t, u) for index, (t, u) in enumerate(pairwise(grid))]


def check_run(levels: Grid, solver: Solver[Any]) -> None:
    if len(levels) < 2:
        raise UsageError(f"a grid of {len(levels)} levels: give two or more")
    falls = [t.lam < u.lam for t, u in pairwise(levels)]
    if any(t.lam == u.lam for t, u in pairwise(levels)) or any(falls) != all(falls):
        raise UsageError("the noise levels of the grid repeat or turn back: they must rise or fall strictly")
    if levels[0].sigma == 0:
        raise UsageError("the grid starts at sigma 0: inversion starts from a first sigma above 0")
    if solver.stochastic and not all(falls):
        raise UsageError(f"{type(solver).__name__} adds noise and cannot invert: give a deterministic solver")
