"""The fit of IIA (Zhang et al. 2024, arXiv 2304.11328): each coarse step to fine steps from its own beginning."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.corrected import Corrected
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.integrate import Solver, integrate
from fastdiff.training.tuning import least_squares
from fastdiff.training.tuning.teacher import Batch, Watch, between, unwatched

C = TypeVar("C", bound=Corrected)


def fit(
    kind: type[C],
    batches: Sequence[Batch],
    levels: Grid,
    inner: Solver,
    parts: int = 10,
    ridge: float = 1e-6,
    watch: Watch = unwatched,
) -> C:
    """`inner` with the numbers of this kind of IIA that bring each step nearest to `parts` steps of `inner`.

    A multistep solver begins the fine steps without a memory. At high noise the directions are all but parallel, and
    without a `ridge` beside their mean square the numbers explode.
    """

    def targets(f: Denoiser, x: Tensor) -> least_squares.Target:
        return lambda done, now: integrate(f, inner, now.x, between(f.schedule, now.t, now.u, parts)).x

    return least_squares.fit(kind(inner, ()), batches, levels, targets, ridge, watch)
