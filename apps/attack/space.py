"""Spaces of perturbations: how they change the pictures, and how gradients return to them."""

from typing import Any, Protocol

import torch
from torch import Tensor

from fastdiff.apps.attack.gradient import Pullback


class Space(Protocol):
    """Perturbations of B pictures."""

    @property
    def unperturbed(self) -> Tensor:
        """No perturbation, (B, ...)."""
        ...

    @property
    def pictures(self) -> Tensor:
        """The attacked pictures, (B, 3, H, W) in [0, 1]."""
        ...

    @property
    def calls(self) -> int:
        """Calls of the diffusion network so far, each on all rows at once."""
        ...

    def take(self, rows: Tensor) -> "Space":
        """Return the space of some of the pictures."""
        ...

    def project(self, delta: Tensor) -> Tensor:
        """Project perturbations to the nearest ones that give valid pictures."""
        ...

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        """Return the sample of perturbations (B, ...), without a graph, and the pullback of gradients by it."""
        ...

    def decode(self, made: Tensor) -> Tensor:
        """Decode a sample to pictures (B, 3, H, W) in [0, 1] with 8 bits, with a graph if gradients are enabled."""
        ...


class Pixels:
    """Perturbations are added to colours (B, 3, H, W) in [0, 1] themselves."""

    calls = 0

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    @property
    def unperturbed(self) -> Tensor:
        return torch.zeros_like(self.pictures)

    def take(self, rows: Tensor) -> "Pixels":
        return Pixels(self.pictures[rows])

    def project(self, delta: Tensor) -> Tensor:
        return (self.pictures + delta).clamp(0, 1) - self.pictures

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        return delta, lambda gradient: gradient

    def decode(self, made: Tensor) -> Tensor:
        return eight_bits(self.pictures + made)


def eight_bits(pictures: Tensor) -> Tensor:
    """Round colours (B, 3, H, W) to the values of an 8-bit file, in [0, 1].

    The gradient is straight-through, except that it is 0 where ascending would push colours further beyond black or
    white.
    """
    rounded: Tensor = _EightBits.apply(pictures)
    return rounded


class _EightBits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor) -> Tensor:
        ctx.save_for_backward(pictures)
        return (pictures.clamp(0, 1) * 255).round() / 255

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (pictures,) = ctx.saved_tensors
        outwards = ((pictures > 1) & (gradient > 0)) | ((pictures < 0) & (gradient < 0))
        return gradient.masked_fill(outwards, 0)
