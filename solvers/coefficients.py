"""Coefficients of tuned solvers: check of the grid that they were fitted to, and conversion to stored tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid

Coefficient = float | Tensor  # a tensor () for gradients by the coefficient


def check_grid(name: str, steps: int, grid: Grid) -> None:
    """Raise UsageError for a rising grid, and for a grid with another number of steps than were fitted."""
    if grid[0].lam > grid[-1].lam:
        raise UsageError(f"{name} from little noise to more: its numbers were fitted for sampling, and cannot invert")
    if len(grid) - 1 != steps:
        raise UsageError(f"{name} fitted to {steps} steps on a grid of {len(grid) - 1}: fit it to that grid")


def to_tensor(numbers: Sequence[Any]) -> Tensor:
    """Return coefficients, (N,) or rows of equal length, as a float64 tensor."""
    return torch.tensor(numbers, dtype=torch.float64)


def from_tensor(name: str, tensors: Mapping[str, Tensor], key: str, columns: int | None = None) -> list[Any]:
    """Return the coefficients stored under `key`: (N,), or (N, columns) as rows.

    Raises UsageError if they are missing, misshapen or not finite.
    """
    tensor, row = tensors.get(key), () if columns is None else (columns,)
    if (
        tensor is None
        or tensor.ndim != 1 + len(row)
        or tensor.shape[1:] != row
        or tensor.numel() == 0
        or not tensor.is_floating_point()
        or not tensor.isfinite().all()
    ):
        raise UsageError(f"the stored numbers of {name} are damaged: {key} must hold {columns or 1} for each step")
    return tensor.double().tolist()
