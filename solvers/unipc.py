"""UniPC (Zhao et al. 2023, arXiv 2302.04867): a multistep predictor, and a corrector without extra evaluations.

The corrector repeats a step with the prediction at its end, which the next step evaluates. The last step of a run is
not corrected. With more than one node the coefficients of B1, B2 and vary-coeff agree; with one node `slope` selects
them (`half`, `midpoint`, `taylor`). vary-coeff is the paper's, not the first-order one of the authors' code.
"""

from dataclasses import dataclass
from math import isfinite, isinf
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.exponential import X0, KnownPrediction, Parameterization, Slope, midpoint, through
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level


class Arrival(NamedTuple):
    """The corrected state and the estimate at a level after the evaluation there."""

    x: Tensor  # (B, ...) corrected state
    estimate: Estimate  # of the state before its correction


class Origin(NamedTuple):
    """The step that led to the current level, for its correction."""

    x: Tensor  # (B, ...) corrected state at its start
    level: Level
    order: int


class Memory(NamedTuple):
    """Solver state."""

    history: tuple[KnownPrediction, ...] = ()  # newest first
    origin: Origin | None = None


@dataclass(frozen=True)
class UniPC:
    """UniP-p with UniC-p, p = `order` of 1 or more. The observed order of convergence is p + 1.

    `lower_final` as in Multistep. `corrector` False is UniP-p alone, of order p.

    Raises UsageError for an order below 1.
    """

    order: int = 2
    parameterization: Parameterization = X0
    slope: Slope = midpoint
    lower_final: bool = True
    corrector: bool = True

    nfe_per_step = 1
    one_step = False
    stochastic = False

    def __post_init__(self) -> None:
        if self.order < 1:
            raise UsageError(f"UniPC of order {self.order}: give 1 or more")

    def init(self, grid: Grid) -> Memory:
        return Memory()

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        return self.leave(self.arrive(f, x, step.t, state), step, state)

    def arrive(self, f: Denoiser, x: Tensor, t: Level, state: Memory) -> Arrival:
        """Evaluate the denoiser at t, and correct the step that led there."""
        estimate = f(x, t)
        if state.origin is None:
            return Arrival(x, estimate)
        used = (
            *state.history[: state.origin.order],
            KnownPrediction(t.lam, self.parameterization.prediction(estimate)),
        )
        return Arrival(
            through(self.parameterization, state.origin.x, state.origin.level, t, used, self.slope), estimate
        )

    def leave(self, arrival: Arrival, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        """Return the predicted state (B, ...) at the end of the step, from the arrival at its start."""
        x, estimate = arrival
        t, u = step.t, step.u
        history = (KnownPrediction(t.lam, self.parameterization.prediction(estimate)), *state.history)[: self.order]
        if isinf(u.lam - t.lam):
            return renoise(estimate, u), Memory(history if isfinite(t.lam) else ())
        used = history[: step.left] if self.lower_final else history
        origin = Origin(x, t, len(used)) if self.corrector else None
        return through(self.parameterization, x, t, u, used, self.slope), Memory(history, origin)
