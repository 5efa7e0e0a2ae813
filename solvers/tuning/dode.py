"""Fit of D-ODE solvers (Kim et al. 2024, arXiv 2309.16421) to the states of a finer run."""

from collections.abc import Sequence
from typing import Any

from fastdiff.solvers.dode import DODE
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.tuning import least_squares
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, unwatched

RIDGE = 1e-12  # keeps a coefficient small where the output does not change between two steps


def fit(
    batches: Sequence[Batch], levels: Grid, teacher: Teacher, inner: Solver[Any], watch: Watch = unwatched
) -> DODE[Any]:
    """Return `inner` with the coefficients that minimize the distance to the teacher after each step.

    The usual teacher is `finer(levels, inner, 10)`, which visits the levels of the grid. The authors take every tenth
    state of a Karras grid instead, which lies at other levels.
    """
    return least_squares.fit(DODE(inner, ()), batches, levels, least_squares.followed(teacher), RIDGE, watch)
