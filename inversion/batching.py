"""Rows of a batch: B pictures stand once or several times in it, all of them before any stands again."""

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError


def repeat_rows(x: Tensor, rows: int) -> Tensor:
    """x (B, ...) again and again up to (rows, ...). Raises UsageError where rows is not a multiple of B."""
    if rows % len(x):
        raise UsageError(f"{rows} rows for an inversion of {len(x)} pictures: give a multiple of them")
    return x.repeat(rows // len(x), *[1] * (x.ndim - 1))


def row_norms(x: Tensor) -> Tensor:
    """Euclidean norm (B,) of each row of x (B, ...)."""
    return torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
