"""Coefficients of a `LearnedCorrection`, fitted step by step by least squares to a target at the end of the step.

Keeps only sums over the batches for each step, in float64, so a data set may be as large as its states allow.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import steps_of
from fastdiff.solvers.learned_correction import LearnedCorrection, Memory, UncorrectedStep
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch

C = TypeVar("C", bound=LearnedCorrection[Any])
Target = Callable[[int, UncorrectedStep], Tensor]  # (number of the step from 1, step) -> target of its end (B, ...)
Targets = Callable[[Denoiser, Tensor], Target]  # (denoiser, start) of a batch -> its target


def followed(teacher: Teacher) -> Targets:
    """Return targets that are the teacher's states at the end of every step."""

    def targets(f: Denoiser, x: Tensor) -> Target:
        states = teacher(f, x)
        return lambda done, now: states[done]

    return targets


class Run(NamedTuple):
    """A batch on its way through the grid."""

    f: Denoiser
    target: Target
    x: Tensor  # (B, ...)
    state: Memory[Any]


def fit(solver: C, batches: Sequence[Batch], levels: Grid, targets: Targets, ridge: float, watch: Watch) -> C:
    """Return `solver` with fitted coefficients. Every step starts from the corrected end of the step before.

    `ridge` as in `least_squares`. Calls `watch` with the number of finished steps and their total.
    """
    steps = len(levels) - 1
    solver = replace(solver, coefficients=((0.0,) * solver.count,) * steps)
    coefficients: list[tuple[float, ...]] = []
    runs = [Run(f, targets(f, x), x, solver.init(levels)) for f, x in batches]
    for step in steps_of(levels):
        done = step.index + 1
        strides = [solver.stride(run.f, run.x, step, run.state) for run in runs]
        equations = (
            (solver.directions(now, run.state.before), run.target(done, now) - now.end)
            for run, (now, _) in zip(runs, strides, strict=True)
        )
        found = least_squares(equations, ridge)
        coefficients.append((*found, *(0.0,) * (solver.count - len(found))))
        runs = [
            run._replace(x=solver.end(now, run.state.before, found), state=after)
            for run, (now, after) in zip(runs, strides, strict=True)
        ]
        watch(done, steps)
    return replace(solver, coefficients=tuple(coefficients))


def least_squares(equations: Iterable[tuple[Sequence[Tensor], Tensor]], ridge: float) -> tuple[float, ...]:
    """Return the coefficients n_k that minimize mean square of (sum n_k d_k - y) plus ridge times sum n_k^2.

    equations: for each batch its directions d_k and y, all (B, ...). Returns no coefficients if there are no
    directions.

    Raises UsageError if a direction or y is not finite.
    """
    sums, size = torch.zeros(()), 0
    for directions, wanted in equations:
        if not directions:
            return ()
        rows = torch.stack([each.double().flatten() for each in (*directions, wanted)])  # (K + 1, n)
        sums, size = sums + rows @ rows.T, size + wanted.numel()
    if not sums.isfinite().all():
        raise UsageError("the states of the fit are not finite numbers: its solver diverges on this grid")
    gram, right = sums[:-1, :-1] / size, sums[:-1, -1] / size
    regular = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return tuple((torch.linalg.pinv(regular, hermitian=True) @ right).tolist())
