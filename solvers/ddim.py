"""DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 with eta 0): the estimate, renoised to the next level.

DDIM is the first-order exponential integrator, Euler's rule in sigma / alpha, and Euler's rule on straight paths.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level


def renoise(estimate: Estimate, u: Level) -> Tensor:
    """Return the state (B, ...) with the estimated signal and noise at level u. u may have sigma 0 or alpha 0."""
    return torch.add(estimate.x0 * u.alpha, estimate.eps, alpha=u.sigma)


@dataclass(frozen=True)
class DDIM:
    """One evaluation per step, first order."""

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        return renoise(f(x, step.t), step.u), None


# Euler's rule in s = sigma / alpha (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without second order) is DDIM:
# d(x / alpha) / ds is the noise estimate, so the step from t to u is x_u = alpha_u (x_t / alpha_t + (s_u - s_t) eps),
# which equals alpha_u x0 + sigma_u eps. On the straight paths of a flow, Euler's rule in time gives the same update.
Euler = DDIM
