"""Fixed-point iteration with Anderson acceleration (Walker and Ni 2011, SIAM J. Numer. Anal. 49(4), 1715-1735)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import choose_rows, row_norms

SOLVED, REACHED = 64, 4  # rounding errors of the state's precision
PATIENCE = 3  # iterations that do not halve the residual of a solved row, after which it stays


@dataclass(frozen=True)
class Anderson:
    """Root finder for a function of the state. Each row of the batch is solved separately.

    A row is solved if its residual, relative to its state, is at most `tolerance`, or SOLVED rounding errors. Errors of
    a step grow in the steps after it, so a row goes on to REACHED rounding errors, as long as that helps: a network may
    round more coarsely.
    """

    tolerance: float = 1e-12
    iterations: int = 50
    window: int = 5  # number of earlier differences in the acceleration

    def solve(self, residual: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best visited state (B, ...), starting from y, and its relative residual (B,).

        residual: maps a state (B, ...) to its residual (B, ...); adding it to the state is the plain fixed-point
        iteration.
        """
        states, residuals = [y], [residual(y)]
        best, least = y, row_norms(residuals[0]) / row_norms(y)
        vain = torch.zeros_like(least)  # iterations of a solved row that did not help
        for _ in range(self.iterations):
            going_on = (least > self._limit(y.dtype, REACHED)) & (vain < PATIENCE)
            if not read_back(going_on.any()):
                break
            states.append(choose_rows(going_on, states[-1] + anderson_step(states, residuals), states[-1]))
            residuals.append(residual(states[-1]))
            size = row_norms(residuals[-1]) / row_norms(states[-1])
            vain = torch.where((least <= self.bound(y.dtype)) & (size > least / 2), vain + 1, 0)
            best, least = choose_rows(size < least, states[-1], best), torch.minimum(size, least)
            states, residuals = states[-self.window - 1 :], residuals[-self.window - 1 :]
        return best, least

    def bound(self, dtype: torch.dtype) -> float:
        """Return the relative residual at which a row of this dtype is solved."""
        return self._limit(dtype, SOLVED)

    def _limit(self, dtype: torch.dtype, errors: int) -> float:
        return max(self.tolerance, errors * torch.finfo(dtype).eps)


def anderson_step(states: list[Tensor], residuals: list[Tensor]) -> Tensor:
    """Return the change (B, ...) of the newest state. States and residuals (B, ...) come oldest first."""
    newest = residuals[-1]
    if len(states) == 1:
        return newest
    moves = torch.diff(_rows(states), dim=1)  # (B, m, n)
    changes = torch.diff(_rows(residuals), dim=1)  # (B, m, n)
    gram = changes @ changes.mT  # (B, m, m)
    ridge = gram.diagonal(dim1=1, dim2=2).sum(1) * torch.finfo(gram.dtype).eps + torch.finfo(gram.dtype).tiny
    regular = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    mix: Tensor = torch.linalg.solve(regular, changes @ _rows([newest]).mT)  # (B, m, 1)
    return newest - ((moves + changes).mT @ mix).reshape(newest.shape)


def _rows(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)  # (B, m, n)
