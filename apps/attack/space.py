"""Spaces of perturbations: how they change the pictures, and how gradients return to them."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fastdiff.apps.attack.gradient import Pullback
from fastdiff.models.classifier import clamp_colours

ROUNDING = 1e-4  # of a step of 8 bits, by which float32 misses one


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

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        """Return the perturbations after an update by `change`, before they are clipped to epsilon."""
        ...

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        """Return the sample of perturbations (B, ...), without a graph, and the pullback of gradients by it."""
        ...

    def decode(self, made: Tensor) -> Tensor:
        """Decode a sample to pictures (B, 3, H, W) in [0, 1], with a graph if gradients are enabled."""
        ...

    def quantized(self, pictures: Tensor) -> Tensor:
        """Return decoded pictures as an 8-bit file keeps them, within the bounds of the perturbation."""
        ...


@dataclass(frozen=True, eq=False)
class Pixels:
    """Perturbations are added to colours (B, C, H, W) in [0, 1], and stay within epsilon (None: unbounded).

    Iterates are those of torchattacks, which rounds none; with `rounds` each is rounded to 8 bits, for a search that
    stops at one.
    """

    pictures: Tensor
    epsilon: float | None = None
    rounds: bool = False

    calls = 0

    @property
    def unperturbed(self) -> Tensor:
        return torch.zeros_like(self.pictures)

    def take(self, rows: Tensor) -> "Pixels":
        return replace(self, pictures=self.pictures[rows])

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        return (self.pictures + delta).clamp(0, 1) + change - self.pictures

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        return delta, lambda gradient: gradient

    def decode(self, made: Tensor) -> Tensor:
        pictures = clamp_colours(self.pictures + made)
        return pictures + (self.quantized(pictures) - pictures).detach() if self.rounds else pictures

    def quantized(self, pictures: Tensor) -> Tensor:
        steps = (pictures.clamp(0, 1) * 255).round()
        if self.epsilon is not None:  # 0.03 allows 7 steps around colours of 8 bits, 8/255 allows 8
            clean, bound = self.pictures * 255, self.epsilon * 255 + ROUNDING
            steps = steps.clamp((clean - bound).ceil().clamp(min=0), (clean + bound).floor().clamp(max=255))
        return steps / 255


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
