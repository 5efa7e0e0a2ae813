"""The one loop: a solver's step, repeated over a grid. Falling noise samples, rising noise inverts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.schedule import Level

S = TypeVar("S")


class Solver(Protocol[S]):
    """A rule for one step, with its memory passed in and out."""

    @property
    def order(self) -> int: ...  # of convergence, in the length of a step in lam
    @property
    def evals(self) -> int: ...  # denoiser calls a step, at most
    @property
    def one_step(self) -> bool: ...  # whether a step needs nothing from those before it
    @property
    def stochastic(self) -> bool: ...  # whether it adds noise, and so cannot invert

    def init(self, grid: Grid) -> S:
        """The memory before the first step of a run over this grid."""
        ...

    def step(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: S) -> tuple[Tensor, S]:
        """Move x (B, ...) from level t to level u."""
        ...


@dataclass(frozen=True)
class Progress:
    """What a watcher sees after each step."""

    index: int  # of the step, from 0
    steps: int  # in the whole run
    level: Level  # reached
    x: Tensor  # (B, ...) state at that level


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
    state: S | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Trajectory[S]:
    """Carry x (B, ...) from the first level of the grid to the last.

    x keeps its dtype and device. `state` resumes a run that ended on the grid's first level. `watch` is called after
    each step; what it raises ends the run.

    Raises UsageError for a grid that is not strictly monotone, starts at sigma 0, or rises under a stochastic solver.
    """
    levels = tuple(grid)
    _check(levels, solver)
    f = f.fresh()
    state = solver.init(levels) if state is None else state
    for index, (t, u) in enumerate(pairwise(levels)):
        x, state = solver.step(f, x, t, u, state)
        if watch:
            watch(Progress(index, len(levels) - 1, u, x))
    return Trajectory(x, state)


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
