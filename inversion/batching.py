"""Batches that hold B pictures once or several times: all pictures in order, then all of them as the next copy."""

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError


def repeat_rows(x: Tensor, rows: int) -> Tensor:
    """Repeat x (B, ...) to (rows, ...). Raises UsageError unless rows is a multiple of B."""
    if rows % len(x):
        raise UsageError(f"{rows} rows for an inversion of {len(x)} pictures: give a multiple of them")
    return x.repeat(rows // len(x), *[1] * (x.ndim - 1))


def row_norms(x: Tensor) -> Tensor:
    """Return the Euclidean norm (B,) of each row of x (B, ...)."""
    norms: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
    return norms
