"""SADA, stability-guided adaptive diffusion acceleration (ICML 2025, arXiv 2507.17135): skips evaluations where safe.

Built is the step-wise regime, as a solver around a solver. States are normalized to alpha^2 + sigma^2 = 1, where
v = alpha eps - sigma x0 is the derivative of the state by the angle atan(sigma / alpha), on every schedule and at both
ends of it. The polynomial through the last three evaluated v predicts the next v, in place of a network, and its
integral is the step of Adams and Bashforth for strides of any length.

The criterion is the paper's: the next evaluation is skipped if the solver's step and the Adams-Bashforth step differ
against the second difference of the derivative. It compares the solver with a more exact step, of order 3, so it holds
for solvers of order 1 and 2. Two things differ from the released code. Its time scale makes the Adams-Bashforth step a
twentieth of the solver's step, which turns the criterion into another one; here both have the same length. It decides
for a batch; here every item has its own decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import atan2, hypot
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.dpm_v3 import DPMv3
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate, from_v
from fastdiff.solvers.exponential import polynomial_weights
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, Step
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import choose_estimates, choose_rows, row_norms, row_values
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.solver_wrapper import SolverWrapper
from fastdiff.solvers.unipc import UniPC

S = TypeVar("S")

NODES = 3  # evaluations in the polynomial
VALUE = (1.0, 1.0, 1.0)  # at the end of a step, of the powers of the position in it
INTEGRAL = (1.0, 1 / 2, 1 / 3)  # over the step
BEND = (0.0, 0.0, 2.0)  # second derivative
ROUNDING = 64.0  # units in the last place, below which differences are none


class Track(NamedTuple):
    """The last evaluations of a run, newest first, at most NODES."""

    angles: tuple[tuple[float, ...], ...] = ()  # of each item
    slopes: tuple[Tensor, ...] = ()  # (B, ...) derivatives of the state by the angle

    def added(self, angle: float, slope: Tensor, rows: Sequence[bool]) -> "Track":
        """Return the track with an evaluation of these rows. The first NODES evaluations are of all rows."""
        if not self.slopes:
            return Track(tuple((angle,) for _ in rows), (slope,))
        moved = zip(rows, self.angles, strict=True)
        angles = tuple((angle, *each)[:NODES] if row else each for row, each in moved)
        slopes = (slope, *self.slopes)[:NODES]
        if not all(rows):
            chosen = torch.tensor(rows, device=slope.device)
            slopes = tuple(choose_rows(chosen, *pair) for pair in zip(slopes, self.slopes, strict=True))
        return Track(angles, slopes)

    def polynomial(self, start: float, end: float, functional: Sequence[float]) -> Tensor:
        """Return a linear functional (B, ...) of the polynomial through the slopes.

        functional: its values for the powers 0, 1, .. of the position, 0 at the angle `start` and 1 at `end`.
        """
        points = [[(angle - start) / (end - start) for angle in each] for each in self.angles]
        weights = torch.tensor([polynomial_weights(each, functional) for each in points], dtype=torch.float64)
        terms = zip(weights.to(self.slopes[0]).unbind(1), self.slopes, strict=True)
        return torch.stack([row_values(weight, slope) * slope for weight, slope in terms]).sum(0)


class Memory(NamedTuple, Generic[S]):
    """Solver state."""

    inner: S
    track: Track = Track()
    skips: tuple[int, ...] = ()  # per item: skipped evaluations in a row, with that of the coming step; 0: evaluate
    forecast: Tensor | None = None  # (B, ...) predicted slope at the coming step


@dataclass(frozen=True, eq=False)
class SADA(SolverWrapper[S]):
    """`inner`, of one evaluation per step, with evaluations skipped in the middle of a run.

    Skips begin at the step `begin` * N of a run of N steps, after three evaluations at the earliest, and end before the
    step `end` * N. At most `longest` evaluations in a row are skipped; 0 leaves `inner` unchanged. A step saves its
    network evaluation if all items of the batch skip it. Items do not change each other's results.

    Raises UsageError for a stochastic solver, for one of several evaluations per step, for a convergence order other
    than 1 and 2, and for values outside 0 <= begin, 0 <= end <= 1 and longest >= 0. init raises it for a rising grid,
    on which strides grow and forecasts with them.
    """

    inner: Solver[S]
    begin: float = 0.2
    end: float = 0.94
    longest: int = 4

    def __post_init__(self) -> None:
        name = type(self.inner).__name__
        if self.inner.stochastic:
            raise UsageError(f"SADA around {name}, which adds noise: give a deterministic solver")
        if self.inner.nfe_per_step != 1:
            raise UsageError(f"SADA around {name}: give a solver of one evaluation per step")
        if _order(self.inner) not in (1, 2):
            raise UsageError(f"SADA around {name} of convergence order {_order(self.inner)}: give order 1 or 2")
        if not (self.begin >= 0 and 0 <= self.end <= 1 and self.longest >= 0):
            raise UsageError(
                f"SADA from {self.begin:g} to {self.end:g} of a run, {self.longest} skips in a row: "
                "give 0 or more, 0 to 1, and 0 or more"
            )

    def init(self, grid: Grid) -> Memory[S]:
        if grid[0].lam > grid[-1].lam:
            raise UsageError("SADA over rising noise: it only samples and cannot invert")
        return Memory(self.inner.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[Tensor, Memory[S]]:
        skips = state.skips or (0,) * len(x)
        rows = [count == 0 for count in skips]
        skipping = SkippingDenoiser(f, step.t, rows, state.forecast)
        end, inner = self.inner.step(skipping, x, step, state.inner)
        if not skipping.slopes:  # a step without evaluation, such as that of a teleport
            return end, Memory(inner, state.track)
        t, u = _angle(step.t), _angle(step.u)
        track = state.track.added(t, skipping.slopes[0], rows) if any(rows) else state.track
        coming = step.index + 1
        if len(track.slopes) < NODES or not self.begin * step.total <= coming < self.end * step.total:
            return end, Memory(inner, track)
        stable = _stable(track, _normalized(x, step.t), _normalized(end, step.u), t, u)
        counts = zip(skips, stable, strict=True)
        after = tuple(count + 1 if calm and count < self.longest else 0 for count, calm in counts)
        return end, Memory(inner, track, after, track.polynomial(t, u, VALUE) if any(after) else None)


@dataclass(frozen=True, eq=False)
class SkippingDenoiser(DenoiserWrapper):
    """At `level`, evaluates these rows (B), and estimates the others from the forecast of their slope.

    Without any row the network is not called. Adds the slope that it finds to `slopes`.
    """

    level: Level
    rows: Sequence[bool]
    forecast: Tensor | None  # (B, ...)
    slopes: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if level != self.level:
            return self.inner(x, level)
        estimate = self._estimate(x, level)
        alpha, sigma = _unit(level).alpha, _unit(level).sigma
        self.slopes.append(alpha * estimate.eps - sigma * estimate.x0)
        return estimate

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self(x, level) for x, level in zip(states, levels, strict=True)]

    def _estimate(self, x: Tensor, level: Level) -> Estimate:
        if self.forecast is None or all(self.rows):
            return self.inner(x, level)
        predicted = from_v(self.forecast, _normalized(x, level), _unit(level))
        if not any(self.rows):
            return predicted
        return choose_estimates(torch.tensor(self.rows, device=x.device), self.inner(x, level), predicted)


def _order(solver: Solver[Any]) -> int:
    """Return the order of convergence: a corrector adds one to the order of its solver."""
    while isinstance(solver, SolverWrapper):
        solver = solver.inner
    return solver.order + (isinstance(solver, UniPC | DPMv3) and solver.corrector)


def _stable(track: Track, x: Tensor, end: Tensor, t: float, u: float) -> list[bool]:
    """Return for every item if its next evaluation may be skipped: the criterion, up to rounding.

    x, end: normalized states (B, ...) at the angles t and u, where the solver's step begins and ends.
    """
    stride = u - t
    gap = end - x - stride * track.polynomial(t, u, INTEGRAL)
    bend = stride * track.polynomial(t, u, BEND)
    noise = ROUNDING * torch.finfo(x.dtype).eps
    same = row_norms(gap) <= noise * row_norms(x)
    straight = row_norms(bend) <= noise * abs(stride) * row_norms(track.slopes[0])
    agree = (gap * bend).reshape(len(x), -1).sum(1) >= 0  # the paper's sign: its derivative is against the run
    return [bool(each) for each in read_back(same | straight | agree)]


def _unit(level: Level) -> Level:
    """Return the level with the same ratio of signal and noise and alpha^2 + sigma^2 = 1."""
    total = hypot(level.alpha, level.sigma)
    return Level(level.t, level.alpha / total, level.sigma / total, level.lam)


def _normalized(x: Tensor, level: Level) -> Tensor:
    return x / hypot(level.alpha, level.sigma)


def _angle(level: Level) -> float:
    return atan2(level.sigma, level.alpha)
