"""Ancestral sampling with Euler's rule: a step below the next level, then noise up to it.

The noise has the variance of DDPM's posterior (Ho et al. 2020, arXiv 2006.11239, eq. 7), as in the k-diffusion sampler.
"""

from dataclasses import dataclass, field
from math import sqrt

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True)
class EulerAncestral:
    """One call a step, weak first order."""

    noise: NoiseSource = field(default_factory=Noise)

    order = 1
    evals = 1
    one_step = True
    stochastic = True

    def init(self, grid: Grid) -> int:
        return 0

    def step(self, f: Denoiser, x: Tensor, t: Level, u: Level, state: int) -> tuple[Tensor, int]:
        """`state` counts the steps done."""
        estimate = f(x, t)
        down = u.sigma * (u.kappa / t.kappa)
        up = sqrt(max(u.sigma**2 - down**2, 0.0))
        mean = estimate.x0 * u.alpha + estimate.eps * down
        return mean + up * self.noise(x, state + 1), state + 1
