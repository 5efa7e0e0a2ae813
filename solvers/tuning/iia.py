"""Fit of IIA (Zhang et al. 2024, arXiv 2304.11328): each coarse step to fine steps from its own start.

Alternatively to a teacher, as D-ODE (arXiv 2309.16421): a step then corrects the remaining error of earlier steps.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.learned_correction import LearnedCorrection
from fastdiff.solvers.tuning import least_squares
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, between, unwatched

C = TypeVar("C", bound=LearnedCorrection[Any])


def fit(
    kind: type[C],
    batches: Sequence[Batch],
    levels: Grid,
    inner: Solver[Any],
    parts: int = 10,
    ridge: float = 1e-6,
    watch: Watch = unwatched,
    teacher: Teacher | None = None,
) -> C:
    """Return `inner` with the IIA coefficients that minimize each step's distance to `parts` steps of `inner`.

    A multistep solver starts the fine steps without history. At high noise the directions are nearly parallel; without
    a `ridge`, relative to their mean square, the coefficients explode. A `teacher` replaces the fine steps.
    """

    def fine(f: Denoiser, x: Tensor) -> least_squares.Target:
        return lambda done, now: integrate(f, inner, now.x, between(f.schedule, now.t, now.u, parts)).x

    targets = fine if teacher is None else least_squares.followed(teacher)
    return least_squares.fit(kind(inner, ()), batches, levels, targets, ridge, watch)
