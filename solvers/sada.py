"""SADA, stability-guided adaptive diffusion acceleration (ICML 2025, arXiv 2507.17135): skips evaluations where safe.

A solver around a solver, with the paper's two regimes. In both, the polynomial through the last evaluations forecasts
v = alpha eps - sigma x0 in place of a network, in the angle atan(sigma / alpha).

The multistep-wise regime skips by a plan, which the grid determines. The released code evaluates one step in four and
extrapolates x0 by the number of the step through four evaluations. Here the plan counts strides of the angle, so that
it fits every grid, and the forecast is a line through two evaluations. Of x0 and v, of angle and lam, and of two to
four evaluations, these follow the full run best on the bundled model. No forecast is used that would multiply errors of
evaluations, such as one where the strides of a grid grow.

The step-wise regime skips by the paper's criterion: if the solver's step and the Adams-Bashforth step, the integral of
the polynomial through three v, differ against the second difference of the derivative. It compares the solver with a
more exact step, of order 3, so it holds for solvers of order 1 and 2. Two things differ from the released code. Its
time scale makes the Adams-Bashforth step a twentieth of the solver's step, which turns the criterion into another one;
here both have the same length. It decides for a batch; here every item has its own decisions.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_v3 import DPMv3
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.forecast import NODES, SkippingDenoiser, Track, amplification, angle_of, normalized
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, Step
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import row_norms
from fastdiff.solvers.solver_wrapper import SolverWrapper, solvers_within
from fastdiff.solvers.unipc import UniPC

S = TypeVar("S")

VALUE: tuple[float, ...] = (1.0, 1.0, 1.0)  # at the end of a step, of the powers of the position in it
LINE = VALUE[:2]
INTEGRAL = (1.0, 1 / 2, 1 / 3)  # over the step
BEND = (0.0, 0.0, 2.0)  # second derivative
ROUNDING = 64.0  # units in the last place, below which differences are none
AMPLIFICATION = 3.5  # at most, of errors of evaluations by a planned forecast: 2.5 three equal strides ahead of four


class Memory(NamedTuple, Generic[S]):
    """Solver state. Skips are counted in a row, 0 where a step evaluates."""

    inner: S
    plan: tuple[int, ...]  # skips with each step of the run, in the multistep-wise regime
    track: Track = Track()
    skips: tuple[int, ...] = ()  # skips with the coming step, of each item
    forecast: Tensor | None = None  # (B, ...) predicted slope at the coming step


@dataclass(frozen=True, eq=False)
class SADA(SolverWrapper[S]):
    """`inner`, of one evaluation per step, with evaluations skipped in the middle of a run.

    Skips begin at the step `begin` * N of a run of N steps, after three evaluations at the earliest, and end before the
    step `end` * N. At most `longest` evaluations in a row are skipped; 0 leaves `inner` unchanged. Before the step
    `stepwise` * N skips follow the criterion, item by item; a step saves its network evaluation if all items of the
    batch skip it. From there on they follow the plan, of one evaluation in `interval` mean strides of the angle or
    more. Items do not change each other's results.

    Raises UsageError for a stochastic solver, for one of several evaluations per step, around another SADA, and for
    values outside begin >= 0, 0 <= end <= 1, longest >= 0, stepwise >= 0 and interval >= 1. Where the criterion
    applies, it raises UsageError for a convergence order other than 1 and 2, and init does for a rising grid, on which
    strides grow and forecasts with them.
    """

    inner: Solver[S]
    begin: float = 0.2
    end: float = 0.94
    longest: int = 3
    stepwise: float = 0.0
    interval: float = 3.0

    def __post_init__(self) -> None:
        name = type(self.inner).__name__
        if self.inner.stochastic:
            raise UsageError(f"SADA around {name}, which adds noise: give a deterministic solver")
        if self.inner.nfe_per_step != 1:
            raise UsageError(f"SADA around {name}: give a solver of one evaluation per step")
        if any(isinstance(solver, SADA) for solver in solvers_within(self.inner)):
            raise UsageError(f"SADA around {name}, which skips evaluations already: give a solver without SADA")
        if not (self.begin >= 0 and 0 <= self.end <= 1 and self.longest >= 0):
            raise UsageError(
                f"SADA from {self.begin:g} to {self.end:g} of a run, {self.longest} skips in a row: "
                "give 0 or more, 0 to 1, and 0 or more"
            )
        if not (self.stepwise >= 0 and self.interval >= 1):
            raise UsageError(
                f"SADA with its criterion until {self.stepwise:g} of a run, then an evaluation in {self.interval:g} "
                "strides: give 0 or more, and 1 or more"
            )
        if self._by_criterion and _order(self.inner) not in (1, 2):
            raise UsageError(
                f"SADA's criterion around {name} of convergence order {_order(self.inner)}: give order 1 or 2"
            )

    @property
    def order(self) -> int:
        return min(self.inner.order, len(LINE))

    @property
    def one_step(self) -> bool:
        return False

    def init(self, grid: Grid) -> Memory[S]:
        if self._by_criterion and grid[0].lam > grid[-1].lam:
            raise UsageError("SADA's criterion over rising noise: it only samples and cannot invert")
        return Memory(self.inner.init(grid), self._plan(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[Tensor, Memory[S]]:
        skips = state.skips or (0,) * len(x)
        rows = [count == 0 for count in skips]
        skipping = SkippingDenoiser(f, step.t, rows, state.forecast)
        end, inner = self.inner.step(skipping, x, step, state.inner)
        if not skipping.slopes:  # a step without evaluation, such as that of a teleport
            return end, Memory(inner, state.plan, state.track)
        t, u = angle_of(step.t), angle_of(step.u)
        track = state.track.added(t, skipping.slopes[0], rows) if any(rows) else state.track
        coming = step.index + 1
        if len(track.slopes) < NODES or not self.begin * step.total <= coming < self.end * step.total:
            return end, Memory(inner, state.plan, track)
        if coming >= self.stepwise * step.total:
            after, values = (state.plan[coming],) * len(x), LINE
        else:
            stable = _stable(track, normalized(x, step.t), normalized(end, step.u), t, u)
            counts = zip(skips, stable, strict=True)
            after = tuple(count + 1 if calm and count < self.longest else 0 for count, calm in counts)
            values = VALUE
        forecast = track.polynomial(t, u, values) if any(after) else None
        return end, Memory(inner, state.plan, track, after, forecast)

    @property
    def _by_criterion(self) -> bool:
        return self.longest > 0 and self.begin < min(self.stepwise, self.end)

    def _plan(self, grid: Grid) -> tuple[int, ...]:
        """Return the skips in a row with every step of the multistep-wise regime, which begins with an evaluation.

        A step is skipped if it ends within `interval` mean strides, rounded, of the last evaluated angle, and if its
        forecast keeps to AMPLIFICATION.
        """
        angles, steps = [angle_of(level) for level in grid], len(grid) - 1
        reach = (self.interval + 0.5) * abs(angles[0] - angles[-1]) / steps
        first = max(NODES - 1, ceil(self.begin * steps), ceil(self.stepwise * steps))
        skips, known = [0], [angles[0]]  # angles of evaluations, newest first
        for index in range(1, steps):
            near = first < index < self.end * steps and abs(known[0] - angles[index + 1]) <= reach
            skip = near and skips[-1] < self.longest and amplification(known[:2], angles[index]) <= AMPLIFICATION
            skips.append(skips[-1] + 1 if skip else 0)
            known = known if skip else [angles[index], *known]
        return tuple(skips)


def gap_and_bend(track: Track, x: Tensor, end: Tensor, t: float, u: float) -> tuple[Tensor, Tensor]:
    """Return the factors of SADA's criterion (B, ...). A run is stable where their product is not negative.

    The first is the gap between the solver's step and the Adams-Bashforth step, the second the change of the slope that
    bends the run. x, end: normalized states (B, ...) at the angles t and u, where the solver's step begins and ends.
    """
    stride = u - t
    return end - x - stride * track.polynomial(t, u, INTEGRAL), stride * track.polynomial(t, u, BEND)


def _order(solver: Solver[Any]) -> int:
    """Return the order of convergence: a corrector adds one to the order of its solver."""
    *_, solver = solvers_within(solver)
    return solver.order + (isinstance(solver, UniPC | DPMv3) and solver.corrector)


def _stable(track: Track, x: Tensor, end: Tensor, t: float, u: float) -> list[bool]:
    """Return for every item if its next evaluation may be skipped: the criterion, up to rounding.

    x, end: normalized states (B, ...) at the angles t and u, where the solver's step begins and ends.
    """
    gap, bend = gap_and_bend(track, x, end, t, u)
    noise = ROUNDING * torch.finfo(x.dtype).eps
    same = row_norms(gap) <= noise * row_norms(x)
    straight = row_norms(bend) <= noise * abs(u - t) * row_norms(track.slopes[0])
    agree = (gap * bend).reshape(len(x), -1).sum(1) >= 0  # the paper's sign: its derivative is against the run
    return [bool(each) for each in read_back(same | straight | agree)]
