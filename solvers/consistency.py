"""ConsistencySolver (Wang et al. 2025, arXiv 2512.13592): DDIM's step with a combination of the last noise estimates.

The weights of the n last estimates, newest first, are 1 + a_0, a_1, .., a_(n-2), and their sum is 1: the oldest one has
the rest. The solver was made for previews: few steps whose end is near that of many steps from the same noise. A policy
network (`fastdiff.solvers.consistency_policy`) chooses the a of each step, or a table has them.

DDIM moves z = x / alpha by its stride of sigma / alpha times eps, so that the step is that of DDIM plus stride times
the sum of a_j (eps_j - eps_oldest).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.coefficients import Coefficient, check_grid, from_tensor, to_tensor
from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step

HISTORY = 4  # estimates in a combination, at most
COUNT = HISTORY - 1  # coefficients of a step
Coefficients = Sequence[Sequence[Coefficient]]  # (N, COUNT), one row for every step
Rule = Callable[[Grid], Coefficients]


class Memory(NamedTuple):
    """Solver state."""

    coefficients: Coefficients
    history: tuple[Tensor, ...] = ()  # noise estimates (B, ...), newest first


@dataclass(frozen=True, eq=False)
class ConsistencySolver:
    """One evaluation per step. `rule` has the coefficients a_0.. of every step of a grid; all 0 is DDIM.

    A step uses as many coefficients as there are earlier estimates, and the first step none. A coefficient may be a
    tensor (B, 1, ...). The coefficients are for sampling: rules raise UsageError for a rising grid.
    """

    rule: Rule

    order = 1
    nfe_per_step = 1
    one_step = False
    stochastic = False

    def init(self, grid: Grid) -> Memory:
        return Memory(self.rule(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        t, u = step.t, step.u
        estimate = f(x, t)
        *newer, oldest = history = (estimate.eps, *state.history)[:HISTORY]
        end = renoise(estimate, u)
        for coefficient, eps in zip(state.coefficients[step.index], newer, strict=False):
            stride = u.alpha * (u.edm_sigma - t.edm_sigma)
            end = end + coefficient * stride * (eps - oldest)
        return end, Memory(state.coefficients, history)


@dataclass(frozen=True, eq=False)
class CoefficientTable:
    """A rule with fixed coefficients, (N, COUNT). Raises UsageError for a grid of another number of steps."""

    coefficients: Coefficients

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "CoefficientTable":
        """Restore the table from `tensors()`. Raises UsageError for damaged coefficients."""
        return cls(from_tensor(ConsistencySolver.__name__, tensors, "numbers", COUNT))

    def tensors(self) -> dict[str, Tensor]:
        """Return the coefficients as solver files store them, under the name "numbers"."""
        return {"numbers": to_tensor(self.coefficients)}

    def __call__(self, grid: Grid) -> Coefficients:
        check_grid(ConsistencySolver.__name__, len(self.coefficients), grid)
        return self.coefficients
