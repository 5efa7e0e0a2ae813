"""Where perturbations live: what they make of the pictures, and how a gradient gets back to them."""

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
        """What is attacked, (B, 3, H, W) in [0, 1]."""
        ...

    @property
    def calls(self) -> int:
        """Calls of a diffusion network so far, each on all rows at once."""
        ...

    def take(self, rows: Tensor) -> "Space":
        """The same for some of the pictures."""
        ...

    def project(self, delta: Tensor) -> Tensor:
        """The nearest perturbations that make pictures."""
        ...

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        """What perturbations (B, ...) make, without a graph, and the way of a gradient by it back to them."""
        ...

    def decode(self, made: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of what was made, in [0, 1] with 8 bits, with a graph where gradients are on."""
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
    """The colours that an 8-bit file keeps of (B, 3, H, W), in [0, 1].

    Gradients, which searches climb, pass as if it kept them all, but for those that lead colours beyond black or white
    further out: pushing them there changes nothing, and pulling them back does.
    """
    return _EightBits.apply(pictures)


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
