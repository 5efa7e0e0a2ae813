"""Solvers with a learned correction: after every step, fitted multiples of known directions are added to the state.

A subclass defines the directions. `fastdiff.solvers.tuning` fits the coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

from torch import Tensor

from fastdiff.solvers.coefficients import Coefficient, check_grid, from_tensor, to_tensor
from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, Step
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.solver_wrapper import SolverWrapper

S = TypeVar("S")


class UncorrectedStep(NamedTuple):
    """A step before its correction."""

    t: Level
    u: Level
    x: Tensor  # (B, ...) state at t
    end: Tensor  # (B, ...) state at u
    estimates: tuple[Estimate, ...]  # of the denoiser, in call order

    @property
    def x0(self) -> Tensor:
        """The clean estimate (B, ...) with which a DDIM step has the same end."""
        return (self.end - self.x * (self.u.sigma / self.t.sigma)) / reach(self.t, self.u)


def reach(t: Level, u: Level) -> float:
    """Return the derivative of the end of a DDIM step from t to u by its clean estimate."""
    return u.alpha - t.alpha * (u.sigma / t.sigma)


class Memory(NamedTuple, Generic[S]):
    """Solver state."""

    inner: S
    before: UncorrectedStep | None = None


@dataclass(frozen=True, eq=False)
class LearnedCorrection(SolverWrapper[S]):
    """`inner` with a correction after each of N steps. Do not use it around UniPC, whose corrector removes corrections.

    `coefficients` holds one coefficient per step and direction. A step with fewer directions ignores its last
    coefficients. The solver fits the grid of the fit only: init raises UsageError for a rising grid and for another
    number of steps.
    """

    inner: Solver[S]
    coefficients: tuple[tuple[Coefficient, ...], ...]

    count: ClassVar[int]  # of directions

    @property
    def one_step(self) -> bool:
        return False

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], inner: Solver[S]) -> Self:
        """Restore the solver from `tensors()` around the solver of the fit.

        Raises UsageError for damaged coefficients.
        """
        return cls(inner, tuple(map(tuple, from_tensor(cls.__name__, tensors, "numbers", cls.count))))

    def tensors(self) -> dict[str, Tensor]:
        """Return the coefficients as solver files store them, under the name "numbers"."""
        return {"numbers": to_tensor(self.coefficients)}

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        """Return at most `count` directions (B, ...). `before` is the previous step, None in the first step."""
        raise NotImplementedError

    def init(self, grid: Grid) -> Memory[S]:
        check_grid(type(self).__name__, len(self.coefficients), grid)
        return Memory(self.inner.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[Tensor, Memory[S]]:
        now, after = self.stride(f, x, step, state)
        return self.end(now, state.before, self.coefficients[step.index]), after

    def stride(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[UncorrectedStep, Memory[S]]:
        """Return the uncorrected step, and the solver state after it."""
        recording = RecordingDenoiser(f, [])
        end, inner = self.inner.step(recording, x, step, state.inner)
        now = UncorrectedStep(step.t, step.u, x, end, tuple(recording.estimates))
        return now, Memory(inner, now)

    def end(self, now: UncorrectedStep, before: UncorrectedStep | None, coefficients: Sequence[Coefficient]) -> Tensor:
        """Return the end (B, ...) of a step, corrected with these coefficients."""
        end = now.end
        for coefficient, direction in zip(coefficients, self.directions(now, before), strict=False):
            end = end + coefficient * direction
        return end


@dataclass(frozen=True, eq=False)
class RecordingDenoiser(DenoiserWrapper):
    """Records the estimates of `inner` in `estimates`."""

    estimates: list[Estimate]

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        self.estimates.append(estimate)
        return estimate

    def fresh(self) -> "RecordingDenoiser":
        return RecordingDenoiser(self.inner.fresh(), [])
