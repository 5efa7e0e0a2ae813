"""Batches that hold B pictures once or several times: all pictures in order, then all of them as the next copy."""

from torch import Tensor

from fastdiff.solvers.errors import UsageError


def repeat_rows(x: Tensor, rows: int) -> Tensor:
    """Repeat x (B, ...) to (rows, ...). Raises UsageError unless rows is a multiple of B."""
    if rows % len(x):
        raise UsageError(f"{rows} rows for an inversion of {len(x)} pictures: give a multiple of them")
    return x.repeat(rows // len(x), *[1] * (x.ndim - 1))
