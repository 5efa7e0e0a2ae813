"""Posterior means of signal and noise, from each of the four kinds of network output.

Both are computed from the network's own output, so neither needs a division that only the other requires.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.schedule import Level

Prediction = Literal["eps", "x0", "v", "flow"]


class Estimate(NamedTuple):
    """Posterior means given the noisy state."""

    x0: Tensor  # (B, ...) clean signal
    eps: Tensor  # (B, ...) noise


def from_eps(eps: Tensor, x: Tensor, level: Level) -> Estimate:
    """Convert a noise prediction. Requires alpha > 0."""
    return Estimate(torch.sub(x, eps, alpha=level.sigma) / level.alpha, eps)


def from_x0(x0: Tensor, x: Tensor, level: Level) -> Estimate:
    """Convert a prediction of the clean signal. Requires sigma > 0."""
    return Estimate(x0, torch.sub(x, x0, alpha=level.alpha) / level.sigma)


def from_v(v: Tensor, x: Tensor, level: Level) -> Estimate:
    """Convert v = alpha eps - sigma x0 on a variance-preserving schedule (Salimans and Ho 2022, arXiv 2202.00512)."""
    x0 = torch.sub(x * level.alpha, v, alpha=level.sigma)
    return Estimate(x0, torch.add(x * level.sigma, v, alpha=level.alpha))


def from_flow(velocity: Tensor, x: Tensor, level: Level) -> Estimate:
    """Convert velocity = eps - x0 on straight paths, alpha + sigma = 1 (Lipman et al. 2023, arXiv 2210.02747)."""
    return Estimate(torch.sub(x, velocity, alpha=level.sigma), torch.add(x, velocity, alpha=level.alpha))


FROM: dict[Prediction, Callable[[Tensor, Tensor, Level], Estimate]] = {
    "eps": from_eps,
    "x0": from_x0,
    "v": from_v,
    "flow": from_flow,
}
