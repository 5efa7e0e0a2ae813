"""DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 with eta 0): the estimate, mixed again at the next level.

It is the first-order exponential integrator, and also Euler's rule in sigma / alpha and Euler's rule on straight paths.
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
    """The state (B, ...) with the estimated signal and noise at level u, which may have sigma 0 or alpha 0."""
    return torch.add(estimate.x0 * u.alpha, estimate.eps, alpha=u.sigma)


@dataclass(frozen=True)
class DDIM:
    """One call a step, first order."""

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        return renoise(f(x, step.t), step.u), None


Euler = DDIM
"""Euler's rule in sigma / alpha (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without its second order).

d(x / alpha) / d(sigma / alpha) is the noise estimate itself, so one Euler step from t to u is
x_u = alpha_u (x_t / alpha_t + (edm_sigma_u - edm_sigma_t) eps), which is alpha_u x0 + sigma_u eps: DDIM's update.
On the straight paths of a flow, Euler's rule in time is the same again.
"""
