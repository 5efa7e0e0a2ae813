"""The way of a gradient from sampled latents back to what was perturbed.

Each function takes a sampler and perturbations (B, ...) and returns the latents (B, C, h, w) with their pullback: from
the gradient of a score by the latents to that by the perturbations.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fastdiff.apps.attack.optimizer import each
from fastdiff.apps.attack.resampling import Resampling
from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Level

SIGMA = 1e-2  # deviation of what a query of the random gradient-free estimate adds

Pullback = Callable[[Tensor], Tensor]


class Penalty(Protocol):
    """A cost of sampling itself."""

    def watching(self) -> AbstractContextManager[None]:
        """Look on inside."""
        ...

    def value(self) -> Tensor:
        """(B,), with a graph, of what was seen last."""
        ...


def identity(sample: Resampling, delta: Tensor) -> tuple[Tensor, Pullback]:
    """Takes the derivative of sampling for 1, as the code of SCA does: no call of the network beyond the sampling."""
    return sample(delta), sample.spread


def random_free(sample: Resampling, delta: Tensor, queries: int, noise: Noise) -> tuple[Tensor, Pullback]:
    """Random gradient-free estimate: the mean of directional derivatives along `queries` random directions."""
    latents = sample(delta)

    def pull(gradient: Tensor) -> Tensor:
        total = torch.zeros_like(delta)
        for query in range(queries):
            direction = noise(delta, query)
            moved = sample(delta + SIGMA * direction) - latents
            total = total + each((moved * gradient).flatten(1).sum(1) / SIGMA, delta) * direction
        return total / queries

    return latents, pull


def backprop(
    sample: Resampling, delta: Tensor, last: int | None = None, penalty: Penalty | None = None
) -> tuple[Tensor, Pullback]:
    """The derivative through the last steps, all where that is None, and 1 for those before.

    Every call of the network is done once more on the way back, so that one step's activations are in memory at a time.
    A penalty, of what happens in the network as it samples, is lowered as well.
    """
    first = 0 if last is None else max(0, sample.steps - last)
    with torch.no_grad():
        middle = sample.begin(delta, first)
    state = middle.x.detach().requires_grad_()
    given = delta.detach().requires_grad_()
    with torch.enable_grad(), nullcontext() if penalty is None else penalty.watching():
        latents = sample.finish(given, state, middle.state, first)

    def pull(gradient: Tensor) -> Tensor:
        outcome, weights = [latents], [gradient]
        if penalty is not None:
            with torch.enable_grad():
                outcome.append(penalty.value())
            weights.append(-torch.ones_like(outcome[1]))
        by_state, by_delta = torch.autograd.grad(outcome, (state, given), weights, allow_unused=True)
        return sample.gathered(by_state, by_delta, first)

    return latents.detach(), pull


@dataclass(frozen=True, eq=False)
class Checkpointed(DenoiserWrapper):
    """A denoiser that is called again on the way back instead of keeping its activations."""

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if not torch.is_grad_enabled():
            return self.inner(x, level)
        return Estimate(*checkpoint(self.inner, x, level, use_reentrant=False))

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        if not torch.is_grad_enabled():
            return self.inner.at_levels(states, levels)
        return list(checkpoint(self.inner.at_levels, states, levels, use_reentrant=False))
