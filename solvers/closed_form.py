"""Problems with denoiser and exact flow in closed form, on which solvers are certified."""

from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import SingleLevelDenoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import EDM, CosineVP, DiscreteVP, Flow, Level, LinearVP, Schedule

MODES = ((0.3, -1.0, 0.04), (0.7, 0.8, 0.09))  # of `Mixture`: weight, mean, variance
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square().tolist()
SCHEDULES: dict[str, Schedule] = {
    "linear": LinearVP(),
    "cosine": CosineVP(),
    "discrete": DiscreteVP.from_betas(BETAS),
    "flow": Flow(shift=3.0),
    "edm": EDM(),
}


@dataclass(frozen=True)
class Gaussian(SingleLevelDenoiser):
    """Data of N(mean, variance) in every element. `carry` is the exact flow between two levels."""

    schedule: Schedule
    mean: float = 1.0
    variance: float = 0.25

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        centred = x - level.alpha * self.mean
        total = self.total(level)
        x0 = self.mean + level.alpha * self.variance / total * centred
        return Estimate(x0, level.sigma / total * centred)

    def fresh(self) -> "Gaussian":
        return self

    def carry(self, x: Tensor, t: Level, u: Level) -> Tensor:
        """Return the state x (B, ...) of level t at level u of the same trajectory."""
        return u.alpha * self.mean + sqrt(self.total(u) / self.total(t)) * (x - t.alpha * self.mean)

    def total(self, level: Level) -> float:
        """Return the variance of states at a level. Their mean is alpha times the mean of the data."""
        return level.alpha**2 * self.variance + level.sigma**2


@dataclass(frozen=True)
class Mixture(SingleLevelDenoiser):
    """Data of two modes in every element, as in MODES."""

    schedule: Schedule

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        gaps = [x - level.alpha * mean for _, mean, _ in MODES]
        totals = [level.alpha**2 * variance + level.sigma**2 for _, _, variance in MODES]
        scores = [
            log(weight) - 0.5 * log(total) - gap * gap / (2 * total)
            for (weight, _, _), gap, total in zip(MODES, gaps, totals, strict=True)
        ]
        shares = torch.softmax(torch.stack(scores), dim=0)
        modes = list(zip(MODES, shares, gaps, totals, strict=True))
        x0 = [share * (mean + level.alpha * variance / total * gap) for (_, mean, variance), share, gap, total in modes]
        eps = [share * gap / total for _, share, gap, total in modes]
        return Estimate(x0[0] + x0[1], level.sigma * (eps[0] + eps[1]))

    def fresh(self) -> "Mixture":
        return self


MIXTURE = Mixture(LinearVP())
MIXTURE_START = 0.7  # at t = 1
MIXTURE_END = 0.9185203210588  # the exact flow from there to t = 1e-3, to 1e-12
