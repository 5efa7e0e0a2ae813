"""Gradient estimators: from the gradient by sampled latents to the gradient by the perturbation.

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
    """A cost of the sampling run itself."""

    def watching(self) -> AbstractContextManager[None]:
        """Observe the run inside."""
        ...

    def value(self) -> Tensor:
        """Return (B,), with a graph, for the last observed run."""
        ...


def identity(sample: Resampling, delta: Tensor) -> tuple[Tensor, Pullback]:
    """Take the derivative of sampling as 1, as the code of SCA does: no network call beyond the sampling."""
    return sample(delta), sample.spread


def random_free(sample: Resampling, delta: Tensor, queries: int, noise: Noise) -> tuple[Tensor, Pullback]:
    """Random gradient-free estimate: the mean directional derivative along `queries` random directions."""
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
    """Backpropagate through the last `last` steps (all if None); the derivative of earlier steps counts as 1.

    Gradient checkpointing: the backward pass repeats every network call, so that memory holds the activations of one
    step. `penalty` is minimised too.
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
    """Gradient checkpointing: a denoiser that is called again in the backward pass, in place of kept activations."""

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if not torch.is_grad_enabled():
            return self.inner(x, level)
        return Estimate(*checkpoint(self.inner, x, level, use_reentrant=False))

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        if not torch.is_grad_enabled():
            return self.inner.at_levels(states, levels)
        return list(checkpoint(self.inner.at_levels, states, levels, use_reentrant=False))
