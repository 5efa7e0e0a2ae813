"""Exact inversion of a one-step solver: the state whose sampling step lands on the given one.

The implicit equation of each step is solved by fixed-point iteration with Anderson acceleration (Walker and Ni 2011,
SIAM J. Numer. Anal. 49(4)), each item of the batch on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.integrate import Solver
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True)
class FixedPoint:
    """The inverse of a solver, as a solver.

    An item stops where the miss of its step, relative to the state, is at most `tolerance` or a few units of rounding.
    Strong guidance or long steps can keep it from getting there in `iterations`: look at the round-trip residual.

    Raises UsageError for a solver that remembers earlier steps or adds noise.
    """

    solver: Solver
    tolerance: float = 1e-12
    iterations: int = 50
    window: int = 5  # differences that the acceleration looks back on

    one_step = True
    stochastic = False

    def __post_init__(self) -> None:
        if not self.solver.one_step or self.solver.stochastic:
            raise UsageError(
                f"fixed-point inversion of {type(self.solver).__name__}: only deterministic one-step solvers have it"
            )

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def evals(self) -> int:
        return self.solver.evals * (self.iterations + 1)

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: None) -> tuple[Tensor, None]:
        """Find y at u with solver.step(y, u -> t) = x, beginning at the solver's own step from t to u."""
        memory = self.solver.init((u, t))
        gain = hypot(u.alpha, u.sigma) / hypot(t.alpha, t.sigma)  # exact where the data have unit variance

        def miss(y: Tensor) -> Tensor:
            return (x - self.solver.step(f, y, u, t, memory)[0]) * gain

        y = self.solver.step(f, x, t, u, memory)[0]
        return self._solve(miss, y), None

    def _solve(self, miss: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        floor = max(self.tolerance, 8 * torch.finfo(y.dtype).eps)
        states, misses = [y], [miss(y)]
        for _ in range(self.iterations):
            active = _norm(misses[-1]) > floor * _norm(states[-1])
            if not active.any():
                break
            step = anderson_step(states, misses)
            states.append(torch.where(active, states[-1] + step, states[-1]))
            misses.append(miss(states[-1]))
            states, misses = states[-self.window - 1 :], misses[-self.window - 1 :]
        return states[-1]


def anderson_step(states: list[Tensor], misses: list[Tensor]) -> Tensor:
    """The change (B, ...) of the newest state, from the last states (B, ...) and what each missed, oldest first."""
    newest = misses[-1]
    if len(states) == 1:
        return newest
    moves = torch.diff(_rows(states), dim=1)  # (B, m, n)
    changes = torch.diff(_rows(misses), dim=1)  # (B, m, n)
    gram = changes @ changes.mT  # (B, m, m)
    ridge = gram.diagonal(dim1=1, dim2=2).sum(1) * torch.finfo(gram.dtype).eps + torch.finfo(gram.dtype).tiny
    regular = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    mix = torch.linalg.solve(regular, changes @ _rows([newest]).mT)  # (B, m, 1)
    return newest - ((moves + changes).mT @ mix).reshape(newest.shape)


def _rows(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)  # (B, m, n)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1).reshape(-1, *[1] * (x.ndim - 1))
