"""DC-Solver (Zhao et al. 2024, arXiv 2409.03755): UniPC with dynamic compensation of its corrector's misalignment.

The corrector moves a state after the denoiser was evaluated at it. Before each step, DC-Solver therefore replaces the
newest estimate by the value at time ratio t_i + (1 - ratio) t_(i - 1) of the polynomial through the last three
estimates. This step, its correction and all later steps use the compensated estimate. `fastdiff.solvers.tuning.dc`
searches one ratio per step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add, mul
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers import unipc
from fastdiff.solvers.coefficients import Coefficient, check_grid, from_tensor, to_tensor
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.solver_wrapper import SolverWrapper
from fastdiff.solvers.unipc import Arrival, UniPC

POINTS = 3  # number of estimates in the polynomial


class Memory(NamedTuple):
    """Solver state."""

    inner: unipc.Memory
    times: tuple[float, ...] = ()  # of the estimates, newest first
    estimates: tuple[Estimate, ...] = ()  # compensated, newest first


@dataclass(frozen=True, eq=False)
class DC(SolverWrapper[unipc.Memory]):
    """`inner` with compensation in every step but the first two. Ratio 1 changes nothing.

    DPM-Solver++(2M) is UniPC(2, corrector=False), DDIM is UniPC(1, corrector=False). The solver fits the grid of the
    search only: init raises UsageError for a rising grid and for another number of steps.
    """

    inner: UniPC
    ratios: tuple[Coefficient, ...]  # N, the first two unused

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], inner: UniPC | None = None) -> "DC":
        """Restore the solver from `tensors()` around the solver of the search. Raises UsageError for damaged ratios."""
        return cls(inner or UniPC(), tuple(from_tensor(cls.__name__, tensors, "ratios")))

    def tensors(self) -> dict[str, Tensor]:
        return {"ratios": to_tensor(self.ratios)}

    def init(self, grid: Grid) -> Memory:
        check_grid(type(self).__name__, len(self.ratios), grid)
        return Memory(self.inner.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        return self.leave(self.arrive(f, x, step.t, state), step, state, self.ratios[step.index])

    def arrive(self, f: Denoiser, x: Tensor, t: Level, state: Memory) -> Arrival:
        """Evaluate the denoiser at t, and correct the step that led there."""
        return self.inner.arrive(f, x, t, state.inner)

    def leave(self, arrival: Arrival, step: Step, state: Memory, ratio: Coefficient) -> tuple[Tensor, Memory]:
        """Return the predicted state (B, ...) at the end of the step, with this ratio."""
        times = (step.t.t, *state.times)[:POINTS]
        estimates = (arrival.estimate, *state.estimates)[:POINTS]
        if len(times) == POINTS:
            estimates = (interpolated(estimates, times, ratio * times[0] + (1 - ratio) * times[1]), *estimates[1:])
        x, inner = self.inner.leave(Arrival(arrival.x, estimates[0]), step, state.inner)
        return x, Memory(inner, times, estimates)


def interpolated(estimates: Sequence[Estimate], times: Sequence[float], time: Coefficient) -> Estimate:
    """Return the value at `time` of the polynomial through estimates at distinct times."""
    weights = [
        prod((time - other) / (own - other) for j, other in enumerate(times) if j != i) for i, own in enumerate(times)
    ]
    return Estimate(*(reduce(add, map(mul, weights, view)) for view in zip(*estimates, strict=True)))
