"""Heun's rule in sigma / alpha: algorithm 1 of Karras et al. 2022 (arXiv 2206.00364) without churn."""

from dataclasses import dataclass
from math import isinf

import torch
from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step


@dataclass(frozen=True)
class Heun:
    """Two evaluations per step, second order.

    One evaluation and first order at a level without noise or without signal.
    """

    order = 2
    nfe_per_step = 2
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        t, u = step.t, step.u
        first = f(x, t)
        euler = renoise(first, u)
        if isinf(u.lam - t.lam):
            return euler, None
        second = f(euler, u)
        stride = u.alpha * (u.edm_sigma - t.edm_sigma)
        return torch.add(euler, second.eps - first.eps, alpha=stride / 2), None
