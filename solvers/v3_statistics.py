"""Statistics of a network for DPM-Solver-v3, and their integrals along a step.

The sampling equation is d(e^L x / alpha) / dlam = -e^L f, with L the integral of l and the remainder f = (sigma eps - l
x) / alpha = (1 - l) x / alpha - x0. The coefficient l minimizes the dependence of f on the state; s and b make f nearly
a solution of f' = s f + b. All of them are per element. (Zheng et al. 2023, arXiv 2310.13268, section 3.1, "empirical
model statistics".)
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True, eq=False)
class Statistics:
    """The coefficients at G + 1 nodes, for every element of a sample; linear in lam between nodes.

    Noise prediction is (l, s, b) = (0, -1, 0), x0 prediction (1, 0, 0).

    Raises UsageError if the shapes disagree, a number is not finite, or lam does not rise over two nodes or more.
    """

    lam: Tensor  # (G + 1,)
    linear: Tensor  # (G + 1, ...) l
    slope: Tensor  # (G + 1, ...) s
    offset: Tensor  # (G + 1, ...) b

    def __post_init__(self) -> None:
        parts = (self.linear, self.slope, self.offset)
        shapes = {tuple(part.shape) for part in parts}
        if len(shapes) > 1 or self.linear.shape[:1] != self.lam.shape or len(self.lam) < 2:
            raise UsageError(f"statistics of shapes {sorted(shapes)} at {len(self.lam)} nodes: they must agree")
        if not (torch.diff(self.lam) > 0).all() or not all(part.isfinite().all() for part in (self.lam, *parts)):
            raise UsageError("statistics whose nodes do not rise or whose numbers are not finite: estimate them again")

    @property
    def shape(self) -> torch.Size:
        """Shape of one sample."""
        return self.linear.shape[1:]

    @cached_property
    def nodes(self) -> list[float]:
        return self.lam.tolist()

    def at(self, lam: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return l, s and b (...) at lam, float64."""
        i = min(max(bisect_right(self.nodes, lam) - 1, 0), len(self.nodes) - 2)
        share = (lam - self.nodes[i]) / (self.nodes[i + 1] - self.nodes[i])
        low, high = ([part[k].double() for part in (self.linear, self.slope, self.offset)] for k in (i, i + 1))
        linear, slope, offset = (torch.lerp(a, b, share) for a, b in zip(low, high, strict=True))
        return linear, slope, offset

    def between(self, first: float, last: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return lam (n,) of both ends and the nodes between them, in order, and l, s and b (n, ...) there, float64."""
        low, high = sorted((first, last))
        inner = slice(bisect_right(self.nodes, low), bisect_left(self.nodes, high))
        lam = torch.tensor([low, *self.nodes[inner], high], dtype=torch.float64, device=self.linear.device)
        linear, slope, offset = (
            torch.cat([a[None], part[inner].double(), b[None]])
            for part, a, b in zip((self.linear, self.slope, self.offset), self.at(low), self.at(high), strict=True)
        )
        if first < last:
            return lam, linear, slope, offset
        return lam.flip(0), linear.flip(0), slope.flip(0), offset.flip(0)


class Integrals(NamedTuple):
    """Integrals over lam from the start of a step to its end, (...) float64. The kernel is e^(L + S)."""

    L: Tensor  # of l
    S: Tensor  # of s
    B: Tensor  # of b e^-S
    drift: Tensor  # of the kernel times B
    powers: list[Tensor]  # of the kernel times r^k, k = 0, 1, ..; r is 0 at the start of the step, 1 at its end


def integrals(statistics: Statistics, first: float, last: float, powers: int = 0) -> Integrals:
    """Return the integrals from lam `first` to `last`, in either direction, by the trapezoidal rule between nodes.

    Makes temporary copies of that part of the statistics.
    """
    lam, linear, slope, offset = statistics.between(first, last)
    rule = _trapezoid(lam)
    L, S = torch.tensordot(rule, linear, 1), torch.tensordot(rule, slope, 1)
    B = torch.tensordot(rule, offset * torch.exp(-S), 1)
    kernel = torch.exp(L + S)
    r = (lam - first) / (last - first)
    drift = torch.tensordot(rule[-1], kernel * B, 1)
    return Integrals(L[-1], S[-1], B[-1], drift, [torch.tensordot(rule[-1] * r**k, kernel, 1) for k in range(powers)])


def _trapezoid(lam: Tensor) -> Tensor:
    """Weights (n, n): row i integrates values at lam (n,) from the first to the i-th."""
    half = torch.diag(torch.diff(lam) / 2)
    return pad((pad(half, (0, 1)) + pad(half, (1, 0))).cumsum(0), (0, 0, 1, 0))
