"""What a coarse run is fitted to: the states of a much finer one at its levels."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Progress, Solver, integrate
from fastdiff.solvers.schedule import Level, Schedule

Batch = tuple[Denoiser, Tensor]  # a denoiser with its conditioning, and the start (B, ...) at the first level
Teacher = Callable[[Denoiser, Tensor], Sequence[Tensor]]  # states (B, ...) at all N + 1 levels, the start among them
Watch = Callable[[int, int], None]  # told how much is done, and of how much


def unwatched(done: int, total: int) -> None:
    """Nobody looks on."""


def between(schedule: Schedule, t: Level, u: Level, parts: int) -> Grid:
    """`parts` equal strides of lam from t down to u; of time from a level without signal; one stride to sigma 0.

    So the network is never called at a level below those that it knows.
    """
    if u.sigma == 0:
        return (t, u)
    if t.alpha == 0:
        return (t, *(schedule.level(float(time)) for time in np.linspace(t.t, u.t, parts + 1)[1:-1]), u)
    return (t, *(schedule.at(float(lam)) for lam in np.linspace(t.lam, u.lam, parts + 1)[1:-1]), u)


def finer(levels: Grid, solver: Solver, parts: int) -> Teacher:
    """`solver` with `parts` steps in place of each, so that it visits every one of `levels`."""

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
