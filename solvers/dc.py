"""DC-Solver (Zhao et al. 2024, arXiv 2409.03755): UniPC with a dynamic compensation of what its corrector leaves.

The corrector moves a state after the denoiser was called on it. Before each step, the newest estimate is therefore put
where the polynomial in time through the last three estimates lies at ratio t_i + (1 - ratio) t_(i - 1); the step, its
correction and all later steps see that one. One ratio a step, found by `fastdiff.solvers.tuning.dc`.
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

POINTS = 3  # estimates that a compensation needs


class Memory(NamedTuple):
    """What a run carries."""

    inner: unipc.Memory
    times: tuple[float, ...] = ()  # of the estimates, newest first
    estimates: tuple[Estimate, ...] = ()  # as the steps used them


@dataclass(frozen=True, eq=False)
class DC(SolverWrapper[unipc.Memory]):
    """`inner` with a compensation in each step but the first two; ratio 1 leaves an estimate as it is.

    DPM-Solver++(2M) is UniPC(2, corrector=False), DDIM is UniPC(1, corrector=False). For the grid of the search only:
    init raises UsageError for one that rises or has another number of steps.
    """

    inner: UniPC
    ratios: tuple[Coefficient, ...]  # N, the first two unused

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], inner: UniPC | None = None) -> "DC":
        """What `tensors` returned, around the solver of the search. Raises UsageError for damaged numbers."""
        return cls(inner or UniPC(), tuple(from_tensor(cls.__name__, tensors, "ratios")))

    def tensors(self) -> dict[str, Tensor]:
        return {"ratios": to_tensor(self.ratios)}

    def init(self, grid: Grid) -> Memory:
        check_grid(type(self).__name__, len(self.ratios), grid)
        return Memory(self.inner.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        return self.leave(self.arrive(f, x, step.t, state), step, state, self.ratios[step.index])

    def arrive(self, f: Denoiser, x: Tensor, t: Level, state: Memory) -> Arrival:
        """The call at t, and the correction of the step that led there."""
        return self.inner.arrive(f, x, t, state.inner)

    def leave(self, arrival: Arrival, step: Step, state: Memory, ratio: Coefficient) -> tuple[Tensor, Memory]:
        """The predicted state (B, ...) at the end of the step, with this ratio."""
        times = (step.t.t, *state.times)[:POINTS]
        estimates = (arrival.estimate, *state.estimates)[:POINTS]
        if len(times) == POINTS:
            estimates = (interpolated(estimates, times, ratio * times[0] + (1 - ratio) * times[1]), *estimates[1:])
        x, inner = self.inner.leave(Arrival(arrival.x, estimates[0]), step, state.inner)
        return x, Memory(inner, times, estimates)


def interpolated(estimates: Sequence[Estimate], times: Sequence[float], time: Coefficient) -> Estimate:
    """The value at `time` of the polynomial through estimates at distinct times."""
    weights = [
        prod((time - other) / (own - other) for j, other in enumerate(times) if j != i) for i, own in enumerate(times)
    ]
    return Estimate(*(reduce(add, map(mul, weights, view)) for view in zip(*estimates, strict=True)))
