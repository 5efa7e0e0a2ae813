"""Rows of a batch: values per row against tensors of any shape."""

import torch
from torch import Tensor

from fastdiff.solvers.estimate import Estimate


def row_norms(x: Tensor) -> Tensor:
    """Return the Euclidean norm (B,) of each row of x (B, ...)."""
    norms: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
    return norms


def row_values(values: Tensor, like: Tensor) -> Tensor:
    """Return values (B,) as (B, 1, ..., 1), to go with rows of `like` (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def choose_rows(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the rows of a (B, ...) where `rows` (B,) is true, and those of b elsewhere."""
    return torch.where(row_values(rows, a), a, b)


def choose_estimates(rows: Tensor, a: Estimate, b: Estimate) -> Estimate:
    """Return the estimate of a where `rows` (B,) is true, and that of b elsewhere."""
    return Estimate(*(choose_rows(rows, *pair) for pair in zip(a, b, strict=True)))
