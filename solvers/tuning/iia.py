"""The fit of IIA (Zhang et al. 2024, arXiv 2304.11328): each coarse step to fine steps from its own beginning.

Or to a teacher, as D-ODE is fitted (arXiv 2309.16421): a step then makes up for what those before it left undone.
"""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.learned_correction import LearnedCorrection
from fastdiff.solvers.tuning import least_squares
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, between, unwatched

C = TypeVar("C", bound=LearnedCorrection)


def fit(
    kind: type[C],
    batches: Sequence[Batch],
    levels: Grid,
    inner: Solver,
    parts: int = 10,
    ridge: float = 1e-6,
    watch: Watch = unwatched,
    teacher: Teacher | None = None,
) -> C:
    """`inner` with the numbers of this kind of IIA that bring each step nearest to `parts` steps of `inner`.

    A multistep solver begins the fine steps without a memory. At high noise the directions are all but parallel, and
    without a `ridge` beside their mean square the numbers explode. A `teacher` takes the place of the fine steps.
    """

    def fine(f: Denoiser, x: Tensor) -> least_squares.Target:
        return lambda done, now: integrate(f, inner, now.x, between(f.schedule, now.t, now.u, parts)).x

    targets = fine if teacher is None else least_squares.followed(teacher)
    return least_squares.fit(kind(inner, ()), batches, levels, targets, ridge, watch)
