"""Updates of a perturbation, separate for every row: momentum sign steps or Adam, and the projection to epsilon."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """An update rule that ascends."""

    def begin(self, delta: Tensor) -> Tensor:
        """Return the memory (B, S, ...) before the first update of perturbations (B, ...)."""
        ...

    def step(self, memory: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return what to add to the perturbation, and the memory; `count` is the number of the update, from 1."""
        ...


@dataclass(frozen=True)
class Signs:
    """g = momentum g + gradient / mean |gradient|, then step sign(g) (Dong et al. 2018, arXiv 1710.06081).

    The paper divides by the sum, which has the same signs; the mean is the very arithmetic of torchattacks.
    """

    size: float
    momentum: float

    def begin(self, delta: Tensor) -> Tensor:
        return torch.zeros_like(delta)[:, None]

    def step(self, memory: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
        length = gradient.abs().mean(tuple(range(1, gradient.ndim)), keepdim=True)
        heading = self.momentum * memory[:, 0] + gradient / length.clamp(min=torch.finfo(gradient.dtype).tiny)
        return self.size * heading.sign(), heading[:, None]


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), ascending."""

    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def begin(self, delta: Tensor) -> Tensor:
        return torch.zeros_like(delta)[:, None].repeat(1, 2, *[1] * (delta.ndim - 1))

    def step(self, memory: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
        first = torch.lerp(gradient, memory[:, 0], self.betas[0])
        second = torch.lerp(gradient.square(), memory[:, 1], self.betas[1])
        mean, power = first / (1 - self.betas[0] ** count), second / (1 - self.betas[1] ** count)
        return self.rate * mean / (power.sqrt() + self.epsilon), torch.stack([first, second], dim=1)


def clip_to_epsilon(delta: Tensor, radius: Tensor) -> Tensor:
    """Clip every row of delta (B, ...) to its own radius (B,)."""
    bound = each(radius, delta)
    return delta.clamp(-bound, bound)


def each(value: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ...), to broadcast over rows (B, ...)."""
    return value.reshape(-1, *[1] * (like.ndim - 1))
