"""SA-Solver (Xue et al. 2023, arXiv 2309.05019): Adams steps along a reverse-time SDE with adjustable noise.

As in UniPC, a corrector repeats a step with the prediction at its end, without extra evaluations and with the same
noise.
"""

from dataclasses import dataclass, field, replace
from math import isfinite, isinf
from typing import NamedTuple

from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import KnownPrediction, Slope, half, through, x0_sde
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.schedule import Level


class Origin(NamedTuple):
    """The step that led to the current level, for its correction."""

    x: Tensor  # (B, ...) corrected state at its start
    level: Level
    known: tuple[KnownPrediction, ...]  # predictions that the correction uses besides the one at the end
    added: Tensor | float  # noise (B, ...)


class Memory(NamedTuple):
    """Solver state."""

    history: tuple[KnownPrediction, ...] = ()  # newest first
    origin: Origin | None = None


@dataclass(frozen=True)
class SASolver:
    """Predictor through `predictor` predictions, 1 or more; corrector through `corrector`, 0 for none.

    The SDE has `tau` times the usual noise: tau 0 is the ODE, which alone inverts. With two predictions `slope` selects
    the weights: `half` is the authors' code, `taylor` the paper. `lower_final` as in Multistep.

    Raises UsageError for fewer predictions, and for a negative tau.
    """

    predictor: int = 2
    corrector: int = 2
    tau: float = 1.0
    slope: Slope = half
    lower_final: bool = True
    noise: NoiseSource = field(default_factory=Noise)

    nfe_per_step = 1
    one_step = False

    def __post_init__(self) -> None:
        if self.predictor < 1 or self.corrector < 0 or self.tau < 0:
            given = f"predictor {self.predictor}, corrector {self.corrector}, tau {self.tau}"
            raise UsageError(f"SA-Solver with {given}: give 1 or more, 0 or more, 0 or more")

    @property
    def order(self) -> int:
        return min(self.predictor + 1, self.corrector) or self.predictor

    @property
    def stochastic(self) -> bool:
        return self.tau > 0

    def with_noise(self, noise: NoiseSource) -> "SASolver":
        return replace(self, noise=noise)

    def init(self, grid: Grid) -> Memory:
        return Memory()

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        parameterization, t, u = x0_sde(self.tau), step.t, step.u
        estimate = f(x, t)
        arrived = KnownPrediction(t.lam, parameterization.prediction(estimate))
        if state.origin is not None:
            before, level, known, added = state.origin
            x = through(parameterization, before, level, t, (*known, arrived), self.slope) + added
        history = (arrived, *state.history)[: max(self.predictor, self.corrector - 1)]
        ends = isinf(u.lam - t.lam)
        after = Memory(history if isfinite(t.lam) else ())
        if ends and not (self.tau and u.sigma):
            return renoise(estimate, u), after
        used = history[: step.left] if self.lower_final else history
        added = parameterization.coefficients(t, u).noise * self.noise(x, step.index + 1) if self.tau else 0.0
        if self.corrector and not ends:
            after = after._replace(origin=Origin(x, t, used[: self.corrector - 1], added))
        return through(parameterization, x, t, u, used[: self.predictor], self.slope) + added, after
