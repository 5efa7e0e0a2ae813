"""Solvers with a fitted correction: to the end of every step some known directions are added, each with its own number.

A subclass names the directions; `fastdiff.solvers.tuning` fits the numbers.
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
    """One uncorrected step."""

    t: Level
    u: Level
    x: Tensor  # (B, ...) state at t
    end: Tensor  # (B, ...) state at u
    estimates: tuple[Estimate, ...]  # what the denoiser answered, in the order of its calls

    @property
    def x0(self) -> Tensor:
        """The clean estimate (B, ...) with which a DDIM step has this end."""
        return (self.end - self.x * (self.u.sigma / self.t.sigma)) / reach(self.t, self.u)


def reach(t: Level, u: Level) -> float:
    """How far the end of a DDIM step from t to u moves with its clean estimate."""
    return u.alpha - t.alpha * (u.sigma / t.sigma)


class Memory(NamedTuple, Generic[S]):
    """What a run carries."""

    inner: S
    before: UncorrectedStep | None = None


@dataclass(frozen=True, eq=False)
class LearnedCorrection(SolverWrapper[S]):
    """`inner`, with directions added after each of N steps. UniPC's corrector would take them away again.

    `numbers` holds for each step as many numbers as there are directions; where a step has fewer, the last are unused.
    For the grid of the fit only: init raises UsageError for one that rises or has another number of steps.
    """

    inner: Solver[S]
    coefficients: tuple[tuple[Coefficient, ...], ...]

    count: ClassVar[int]  # of directions

    @property
    def one_step(self) -> bool:
        return False

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], inner: Solver[S]) -> Self:
        """What `tensors` returned, around the solver of the fit. Raises UsageError for damaged numbers."""
        return cls(inner, tuple(map(tuple, from_tensor(cls.__name__, tensors, "numbers", cls.count))))

    def tensors(self) -> dict[str, Tensor]:
        return {"numbers": to_tensor(self.coefficients)}

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        """The directions (B, ...), at most `count`; `before` is the step that led here, if any did."""
        raise NotImplementedError

    def init(self, grid: Grid) -> Memory[S]:
        check_grid(type(self).__name__, len(self.coefficients), grid)
        return Memory(self.inner.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[Tensor, Memory[S]]:
        now, after = self.stride(f, x, step, state)
        return self.end(now, state.before, self.coefficients[step.index]), after

    def stride(self, f: Denoiser, x: Tensor, step: Step, state: Memory[S]) -> tuple[UncorrectedStep, Memory[S]]:
        """The uncorrected step, and the memory after it."""
        listener = RecordingDenoiser(f, [])
        end, inner = self.inner.step(listener, x, step, state.inner)
        now = UncorrectedStep(step.t, step.u, x, end, tuple(listener.estimates))
        return now, Memory(inner, now)

    def end(self, now: UncorrectedStep, before: UncorrectedStep | None, coefficients: Sequence[Coefficient]) -> Tensor:
        """The end (B, ...) of a step, corrected with these numbers."""
        end = now.end
        for coefficient, direction in zip(coefficients, self.directions(now, before), strict=False):
            end = end + coefficient * direction
        return end


@dataclass(frozen=True, eq=False)
class RecordingDenoiser(DenoiserWrapper):
    """A denoiser whose answers are kept."""

    estimates: list[Estimate]

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        self.estimates.append(estimate)
        return estimate

    def fresh(self) -> "RecordingDenoiser":
        return RecordingDenoiser(self.inner.fresh(), [])
