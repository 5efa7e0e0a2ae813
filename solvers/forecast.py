"""Forecasts of a run's next evaluation by the polynomial through its last ones, in the angle atan(sigma / alpha).

States are normalized to alpha^2 + sigma^2 = 1. There v = alpha eps - sigma x0 is the derivative of the state by the
angle, on every schedule and at both ends of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import atan2, hypot
from typing import NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.estimate import Estimate, from_v
from fastdiff.solvers.exponential import polynomial_weights
from fastdiff.solvers.rows import choose_estimates, choose_rows, row_values
from fastdiff.solvers.schedule import Level

NODES = 3  # evaluations that a track keeps


class Track(NamedTuple):
    """The last evaluations of a run, newest first, at most NODES."""

    angles: tuple[tuple[float, ...], ...] = ()  # of each item
    slopes: tuple[Tensor, ...] = ()  # (B, ...) derivatives of the state by the angle

    def added(self, angle: float, slope: Tensor, rows: Sequence[bool]) -> "Track":
        """Return the track with an evaluation of these rows. The first NODES evaluations are of all rows."""
        if not self.slopes:
            return Track(tuple((angle,) for _ in rows), (slope,))
        moved = zip(rows, self.angles, strict=True)
        angles = tuple((angle, *each)[:NODES] if row else each for row, each in moved)
        slopes = (slope, *self.slopes)[:NODES]
        if not all(rows):
            chosen = torch.tensor(rows, device=slope.device)
            slopes = tuple(choose_rows(chosen, *pair) for pair in zip(slopes, self.slopes, strict=True))
        return Track(angles, slopes)

    def polynomial(self, start: float, end: float, functional: Sequence[float]) -> Tensor:
        """Return a linear functional (B, ...) of the polynomial through the last slopes.

        functional: its values for the powers 0, 1, .. of the position, 0 at the angle `start` and 1 at `end`; one for
        each slope that takes part. The sum is formed in float32 at least.
        """
        count, dtype = len(functional), self.slopes[0].dtype
        points = [[(angle - start) / (end - start) for angle in each[:count]] for each in self.angles]
        weights = torch.tensor([polynomial_weights(each, functional) for each in points], dtype=torch.float64)
        wide = [slope.to(torch.promote_types(dtype, torch.float32)) for slope in self.slopes[:count]]
        terms = zip(weights.to(wide[0]).unbind(1), wide, strict=True)
        return torch.stack([row_values(weight, slope) * slope for weight, slope in terms]).sum(0).to(dtype)


@dataclass(frozen=True, eq=False)
class SkippingDenoiser(DenoiserWrapper):
    """At `level`, evaluates these rows (B), and estimates the others from the forecast of their slope.

    Without any row the network is not called. Adds the slope that it finds to `slopes`.
    """

    level: Level
    rows: Sequence[bool]
    forecast: Tensor | None  # (B, ...)
    slopes: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if level != self.level:
            return self.inner(x, level)
        estimate = self._estimate(x, level)
        alpha, sigma = unit(level).alpha, unit(level).sigma
        self.slopes.append(alpha * estimate.eps - sigma * estimate.x0)
        return estimate

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self(x, level) for x, level in zip(states, levels, strict=True)]

    def _estimate(self, x: Tensor, level: Level) -> Estimate:
        if self.forecast is None or all(self.rows):
            return self.inner(x, level)
        predicted = from_v(self.forecast, normalized(x, level), unit(level))
        if not any(self.rows):
            return predicted
        return choose_estimates(torch.tensor(self.rows, device=x.device), self.inner(x, level), predicted)


def unit(level: Level) -> Level:
    """Return the level with the same ratio of signal and noise and alpha^2 + sigma^2 = 1."""
    total = hypot(level.alpha, level.sigma)
    return Level(level.t, level.alpha / total, level.sigma / total, level.lam)


def normalized(x: Tensor, level: Level) -> Tensor:
    return x / hypot(level.alpha, level.sigma)


def angle_of(level: Level) -> float:
    return atan2(level.sigma, level.alpha)


def amplification(angles: Sequence[float], target: float) -> float:
    """Return the factor by which a forecast at the target angle multiplies errors of evaluations at `angles`, at most.

    This is the sum of the absolute weights of the polynomial through them.
    """
    scale = angles[0] - angles[-1]
    weights = polynomial_weights([(angle - target) / scale for angle in angles], [1.0] + [0.0] * (len(angles) - 1))
    return sum(map(abs, weights))
