"""Teachers: the states of a much finer run at the levels of a coarse grid."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, integrate
from fastdiff.solvers.schedule import Level, Schedule

Batch = tuple[Denoiser, Tensor]  # denoiser with its conditioning bound, state (B, ...) at the first level
Teacher = Callable[[Denoiser, Tensor], Sequence[Tensor]]  # states (B, ...) at all N + 1 levels, including the start
Watch = Callable[[int, int], None]  # (finished steps, all steps)


def unwatched(done: int, total: int) -> None:
    """Ignore progress."""


def between(schedule: Schedule, t: Level, u: Level, parts: int) -> Grid:
    """Return `parts` strides from t down to u: equal in lam, equal in time from a level without signal.

    A step to sigma 0 stays one stride, so that the network is never evaluated below its trained levels.
    """
    if u.sigma == 0:
        return (t, u)
    if t.alpha == 0:
        return (t, *(schedule.level(float(time)) for time in np.linspace(t.t, u.t, parts + 1)[1:-1]), u)
    return (t, *(schedule.at(float(lam)) for lam in np.linspace(t.lam, u.lam, parts + 1)[1:-1]), u)


def finer(levels: Grid, solver: Solver[Any], parts: int) -> Teacher:
    """Return the teacher that runs `solver` with `parts` steps in place of each step, visiting all of `levels`."""

    def states(f: Denoiser, x: Tensor) -> list[Tensor]:
        grid = levels[:1]
        for t, u in pairwise(levels):
            grid += between(f.schedule, t, u, parts)[1:]
        visited = [x]

        def keep(now: Progress) -> None:
            if now.step.u == levels[len(visited)]:
                visited.append(now.x)

        integrate(f, solver, x, grid, watch=keep)
        return visited

    return states
