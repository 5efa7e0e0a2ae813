"""Denoisers in closed form, the oracles of the solver tests, and the states and solvers to try them on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.solvers.certificates import inverts
from fastdiff.solvers.closed_form import BETAS, MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, Mixture
from fastdiff.solvers.denoiser import Denoiser, SingleLevelDenoiser
from fastdiff.solvers.estimate import Estimate, from_x0
from fastdiff.solvers.guidance import ClassifierFree, EstimatePair, Guided
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import DiscreteVP, Level, Schedule

__all__ = ["BETAS", "MIXTURE", "MIXTURE_END", "MIXTURE_START", "SCHEDULES", "Gaussian", "Mixture"]

STOCHASTIC = sorted(name for name, make in SOLVERS.items() if make().stochastic)
DETERMINISTIC = sorted(name for name, make in SOLVERS.items() if inverts(make()))


@dataclass(frozen=True)
class Clusters(SingleLevelDenoiser):
    """Data of equal shares of N(mean, variance I) around the rows of `means` (K, d); fewer rows are a prompt."""

    schedule: Schedule
    means: Tensor
    variance: float

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        means, total = self.means.to(x), level.alpha**2 * self.variance + level.sigma**2
        gaps = x[:, None] - level.alpha * means  # (B, K, d)
        shares = torch.softmax(gaps.square().sum(2) / (-2 * total), dim=1)
        x0 = (shares[..., None] * (means + level.alpha * self.variance / total * gaps)).sum(1)
        return from_x0(x0, x, level)

    def fresh(self) -> "Clusters":
        return self

    def sample(self, count: int) -> Tensor:
        """Pictures (count, d), float64."""
        means = self.means[torch.arange(count) % len(self.means)]
        return means + self.variance**0.5 * random_state(*means.shape)


@dataclass(frozen=True)
class TwoDenoisers:
    """A `ConditionalDenoiser` whose estimates are those of two denoisers."""

    with_condition: Denoiser
    without: Denoiser

    batched = False

    @property
    def schedule(self) -> Schedule:
        return self.with_condition.schedule

    def conditional(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self.with_condition(x, level) for x, level in zip(states, levels, strict=True)]

    def pairs(self, states: Tensor, levels: Sequence[Level]) -> list[EstimatePair]:
        pairs = zip(states, levels, self.conditional(states, levels), strict=True)
        return [EstimatePair(given, self.without(x, level)) for x, level, given in pairs]

    def fresh(self) -> "TwoDenoisers":
        return self


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Guided:
    """Classifier-free guidance between two denoisers."""
    return Guided(TwoDenoisers(conditional, unconditional), ClassifierFree(scale))


def start(value: float = MIXTURE_START) -> Tensor:
    """One number, float64 (1,)."""
    return torch.full((1,), value, dtype=torch.float64)


def random_state(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same at every call and in every dtype."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


CENTRES = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
DISCRETE = DiscreteVP.from_betas(BETAS)  # the schedule of this name in SCHEDULES
LINEAR_BETAS = DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist())
SMOOTH = Clusters(LINEAR_BETAS, 0.7 * CENTRES, 0.6)
STIFF = Clusters(LINEAR_BETAS, CENTRES, 0.05)
