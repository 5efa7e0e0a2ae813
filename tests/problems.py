"""Denoisers in closed form, the oracles of the solver tests, and the states and solvers to try them on."""

from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Tensor

from fastdiff.solvers.estimate import Estimate, from_eps, from_x0
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import EDM, CosineVP, DiscreteVP, Flow, Level, LinearVP, Schedule

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square().tolist()
SCHEDULES: dict[str, Schedule] = {
    "linear": LinearVP(),
    "cosine": CosineVP(),
    "discrete": DiscreteVP.from_betas(BETAS),
    "flow": Flow(shift=3.0),
    "edm": EDM(),
}
STOCHASTIC = sorted(name for name, make in SOLVERS.items() if make().stochastic)
DETERMINISTIC = sorted(set(SOLVERS) - set(STOCHASTIC))


@dataclass(frozen=True)
class Gaussian:
    """Data of N(mean, variance) in every element; `carry` is the exact flow between two levels."""

    schedule: Schedule
    mean: float = 1.0
    variance: float = 0.25

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        centred = x - level.alpha * self.mean
        total = self._total(level)
        x0 = self.mean + level.alpha * self.variance / total * centred
        return Estimate(x0, level.sigma / total * centred)

    def fresh(self) -> "Gaussian":
        return self

    def carry(self, x: Tensor, t: Level, u: Level) -> Tensor:
        return u.alpha * self.mean + sqrt(self._total(u) / self._total(t)) * (x - t.alpha * self.mean)

    def _total(self, level: Level) -> float:
        return level.alpha**2 * self.variance + level.sigma**2


@dataclass(frozen=True)
class Mixture:
    """Two modes in every element: weights 0.3 and 0.7, means -1 and 0.8, variances 0.04 and 0.09."""

    schedule: Schedule

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        gaps = [x - level.alpha * mean for mean in (-1.0, 0.8)]
        totals = [level.alpha**2 * variance + level.sigma**2 for variance in (0.04, 0.09)]
        scores = [
            log(weight) - 0.5 * log(total) - gap * gap / (2 * total)
            for weight, gap, total in zip((0.3, 0.7), gaps, totals, strict=True)
        ]
        shares = torch.softmax(torch.stack(scores), dim=0)
        terms = [share * gap / total for share, gap, total in zip(shares, gaps, totals, strict=True)]
        return from_eps(level.sigma * (terms[0] + terms[1]), x, level)

    def fresh(self) -> "Mixture":
        return self


@dataclass(frozen=True)
class Clusters:
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


MIXTURE_START = 0.7  # at t = 1 of LinearVP()
MIXTURE_END = 0.9185203210588  # the exact flow from there to t = 1e-3, to 1e-12
MIXTURE = Mixture(LinearVP())


def start(value: float = MIXTURE_START) -> Tensor:
    """One number, float64 (1,)."""
    return torch.full((1,), value, dtype=torch.float64)


def random_state(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same at every call and in every dtype."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


CENTRES = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
LINEAR_BETAS = DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist())
SMOOTH = Clusters(LINEAR_BETAS, 0.7 * CENTRES, 0.6)
STIFF = Clusters(LINEAR_BETAS, CENTRES, 0.05)
