"""Fit of `HeunDODE` (Kim et al. 2024, arXiv 2309.16421) to the states of a finer run.

Both halves of a step are fitted to the teacher's state at the end of the step. The authors' code fits the first half to
the teacher's state half way between in index, which lies at another level.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dode_heun import Half, HeunDODE
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.tuning.dode import RIDGE
from fastdiff.solvers.tuning.least_squares import least_squares
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, unwatched


class Run(NamedTuple):
    """A batch on its way through the grid."""

    f: Denoiser
    targets: Sequence[Tensor]  # teacher's states at all levels
    x: Tensor  # (B, ...)
    state: Tensor | None = None  # clean estimate (B, ...) of the last call


def fit(batches: Sequence[Batch], levels: Grid, teacher: Teacher, watch: Watch = unwatched) -> HeunDODE:
    """Fit the coefficients of both halves of each step to the teacher, usually `finer(levels, Heun(), 10)`."""
    steps = len(levels) - 1
    solver = HeunDODE(((0.0, 0.0),) * steps)
    solver.init(levels)
    runs = [Run(f, teacher(f, x), x) for f, x in batches]
    coefficients = []
    for done, (t, u) in enumerate(pairwise(levels), start=1):
        targets = [run.targets[done] for run in runs]
        halves = [solver.predict(run.f, run.x, t, u, run.state) for run in runs]
        first = _coefficient(halves, targets)
        ends = [half.corrected(first) for half in halves]
        second = 0.0
        if u.sigma and t.alpha:
            halves = [solver.correct(run.f, half, x, t, u) for run, half, x in zip(runs, halves, ends, strict=True)]
            second = _coefficient(halves, targets)
            ends = [half.corrected(second) for half in halves]
        runs = [run._replace(x=x, state=half.estimate.x0) for run, half, x in zip(runs, halves, ends, strict=True)]
        coefficients.append((first, second))
        watch(done, steps)
    return HeunDODE(tuple(coefficients))


def _coefficient(halves: Iterable[Half], targets: Iterable[Tensor]) -> float:
    equations = (
        (() if half.change is None else (half.change,), target - half.end)
        for half, target in zip(halves, targets, strict=True)
    )
    return next(iter(least_squares(equations, RIDGE)), 0.0)
