"""Ancestral sampling with Euler's rule: a step below the next noise level, then noise up to it.

The noise has the variance of DDPM's posterior (Ho et al. 2020, arXiv 2006.11239, eq. 7), as in k-diffusion's sampler.
"""

from dataclasses import dataclass, field, replace
from math import sqrt

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.noise import Noise, NoiseSource


@dataclass(frozen=True)
class EulerAncestral:
    """One evaluation per step, weak first order."""

    noise: NoiseSource = field(default_factory=Noise)

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = True

    def with_noise(self, noise: NoiseSource) -> "EulerAncestral":
        return replace(self, noise=noise)

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        t, u = step.t, step.u
        estimate = f(x, t)
        down = u.sigma * (u.edm_sigma / t.edm_sigma)
        up = sqrt(max(u.sigma**2 - down**2, 0.0))
        mean = estimate.x0 * u.alpha + estimate.eps * down
        return mean + up * self.noise(x, step.index + 1), None
