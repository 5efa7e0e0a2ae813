"""Fixed-point iteration with Anderson acceleration (Walker and Ni 2011, SIAM J. Numer. Anal. 49(4), 1715-1735)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.inversion.batching import row_norms


@dataclass(frozen=True)
class Anderson:
    """Finds where a function of the state vanishes, each row of the batch on its own.

    A row is solved where its residual, relative to its state, is at most `tolerance`, or the rounding of a network.
    """

    tolerance: float = 1e-12
    iterations: int = 50
    window: int = 5  # differences that the acceleration looks back on

    def solve(self, residual: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        """The best of the visited states (B, ...) from y on, and its relative residual (B,).

        residual: maps a state (B, ...) to what it lacks (B, ...), which added to the state is the plain iteration.
        """
        states, residuals = [y], [residual(y)]
        best, least = y, row_norms(residuals[0]) / row_norms(y)
        for _ in range(self.iterations):
            unsolved = least > self.bound(y.dtype)
            if not unsolved.any():
                break
            states.append(torch.where(_wide(unsolved, y), states[-1] + anderson_step(states, residuals), states[-1]))
            residuals.append(residual(states[-1]))
            size = row_norms(residuals[-1]) / row_norms(states[-1])
            best, least = torch.where(_wide(size < least, y), states[-1], best), torch.minimum(size, least)
            states, residuals = states[-self.window - 1 :], residuals[-self.window - 1 :]
        return best, least

    def bound(self, dtype: torch.dtype) -> float:
        """The relative residual at which a row of this dtype is solved."""
        return max(self.tolerance, 64 * torch.finfo(dtype).eps)


def anderson_step(states: list[Tensor], residuals: list[Tensor]) -> Tensor:
    """The change (B, ...) of the newest state, from the last states (B, ...) and what each missed, oldest first."""
    newest = residuals[-1]
    if len(states) == 1:
        return newest
    moves = torch.diff(_rows(states), dim=1)  # (B, m, n)
    changes = torch.diff(_rows(residuals), dim=1)  # (B, m, n)
    gram = changes @ changes.mT  # (B, m, m)
    ridge = gram.diagonal(dim1=1, dim2=2).sum(1) * torch.finfo(gram.dtype).eps + torch.finfo(gram.dtype).tiny
    regular = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    mix = torch.linalg.solve(regular, changes @ _rows([newest]).mT)  # (B, m, 1)
    return newest - ((moves + changes).mT @ mix).reshape(newest.shape)


def _rows(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)  # (B, m, n)


def _wide(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(-1, *[1] * (like.ndim - 1))
