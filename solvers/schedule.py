"""Noise schedules: the signal and noise factors of a state as functions of time.

A state at time t is x = alpha x0 + sigma eps. lam = log(alpha / sigma) is half the log signal-to-noise ratio and falls
as t grows. Solvers work on `Level` values of Python floats, which cost no tensor operations.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import acos, cos, exp, expm1, floor, inf, isfinite, log, log1p, pi, sqrt
from typing import NamedTuple, Protocol

from fastdiff.solvers.errors import UsageError


class Level(NamedTuple):
    """One noise level of a schedule."""

    t: float  # the schedule's own time
    alpha: float  # factor of the clean signal, in [0, 1]
    sigma: float  # factor of the noise, >= 0
    lam: float  # log(alpha / sigma): inf without noise, -inf without signal

    @property
    def edm_sigma(self) -> float:
        """Noise relative to signal, sigma / alpha: the "sigma" of EDM and of diffusers."""
        return self.sigma / self.alpha if self.alpha else inf


CLEAN_LEVEL = Level(t=0.0, alpha=1.0, sigma=0.0, lam=inf)


class Schedule(Protocol):
    """Noise level as a function of time. Sampling runs from `start` down to `end`."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...

    def level(self, t: float) -> Level:
        """Return the noise level at time t."""
        ...

    def at(self, lam: float) -> Level:
        """Return the noise level with this lam: the inverse of `level(t).lam`."""
        ...


class VariancePreserving(Schedule, Protocol):
    """Base of schedules with alpha^2 + sigma^2 = 1, defined by log(alpha) and its inverse."""

    def log_alpha(self, t: float) -> float: ...

    def time(self, log_alpha: float) -> float: ...

    def level(self, t: float) -> Level:
        log_alpha = self.log_alpha(t)
        if log_alpha >= 0:
            return CLEAN_LEVEL
        sigma = sqrt(-expm1(2 * log_alpha))
        return Level(t, exp(log_alpha), sigma, log_alpha - log(sigma))

    def at(self, lam: float) -> Level:
        log_alpha = -0.5 * log1p(exp(-2 * lam))
        return Level(self.time(log_alpha), exp(log_alpha), 1 / sqrt(1 + exp(2 * lam)), lam)


@dataclass(frozen=True)
class LinearVP(VariancePreserving):
    """Continuous schedule with a rate linear in t (Song et al. 2021, arXiv 2011.13456, eq. 33)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1.0
    end: float = 1e-3

    def log_alpha(self, t: float) -> float:
        return -t * t * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2

    def time(self, log_alpha: float) -> float:
        slope = self.beta_max - self.beta_min
        w = -4 * slope * log_alpha
        return w / ((sqrt(self.beta_min**2 + w) + self.beta_min) * slope)


@dataclass(frozen=True)
class CosineVP(VariancePreserving):
    """Continuous cosine schedule (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17), from lam near -5."""

    offset: float = 0.008
    start: float = 0.9946
    end: float = 1e-3

    def log_alpha(self, t: float) -> float:
        return log(cos(self._angle(t))) - log(cos(self._angle(0.0)))

    def time(self, log_alpha: float) -> float:
        return acos(exp(log_alpha) * cos(self._angle(0.0))) * 2 * (1 + self.offset) / pi - self.offset

    def _angle(self, t: float) -> float:
        return (t + self.offset) / (1 + self.offset) * pi / 2


@dataclass(frozen=True)
class DiscreteVP(VariancePreserving):
    """A trained table of N noise levels, made continuous by linear interpolation of log(alpha).

    Timestep n = 0..N-1 of `alphas_cumprod` (alpha squared, strictly falling, in (0, 1)) lies at t = (n + 1) / N.
    Outside the table the end segments extend, down to no noise at all. Networks are trained with the timestep (Lu et
    al. 2022, arXiv 2206.00927, section 3.4).

    Raises UsageError if the table has fewer than two values, is not strictly falling or leaves (0, 1).
    """

    alphas_cumprod: tuple[float, ...]
    start: float = 1.0

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        falling = all(a > b for a, b in pairwise(table))
        if len(table) < 2 or not falling or table[-1] <= 0 or table[0] >= 1:
            raise UsageError(f"alphas_cumprod of {len(table)} values: give two or more, strictly falling inside (0, 1)")

    @classmethod
    def from_betas(cls, betas: Sequence[float]) -> "DiscreteVP":
        """Build the table from the noise variances per step, each in (0, 1)."""
        product, table = 1.0, []
        for beta in betas:
            product *= 1 - beta
            table.append(product)
        return cls(tuple(table))

    @property
    def end(self) -> float:
        return 1 / len(self.alphas_cumprod)

    def timestep(self, level: Level) -> float:
        """Return the timestep of a noise level, 0 to N - 1, fractional between table entries."""
        return level.t * len(self.alphas_cumprod) - 1

    def at_timestep(self, timestep: float) -> Level:
        """Return the noise level at this timestep."""
        return self.level((timestep + 1) / len(self.alphas_cumprod))

    def log_alpha(self, t: float) -> float:
        position = t * len(self._knots) - 1
        i = min(max(floor(position), 0), len(self._knots) - 2)
        left, right = self._knots[i], self._knots[i + 1]
        return min(left + (position - i) * (right - left), 0.0)

    def time(self, log_alpha: float) -> float:
        i = bisect_left(self._knots, -log_alpha, key=lambda knot: -knot)
        i = min(max(i - 1, 0), len(self._knots) - 2)
        left, right = self._knots[i], self._knots[i + 1]
        return (i + (log_alpha - left) / (right - left) + 1) / len(self._knots)

    @cached_property
    def _knots(self) -> list[float]:
        return [0.5 * log(a) for a in self.alphas_cumprod]


@dataclass(frozen=True)
class Flow:
    """Straight paths, alpha = 1 - sigma, with sigma = shift t / (1 + (shift - 1) t) (Esser et al. 2024, 2403.03206).

    Networks of this family are trained with sigma (usually times 1000), not with the unshifted t.
    """

    shift: float = 1.0
    start: float = 0.999
    end: float = 1e-3

    def level(self, t: float) -> Level:
        sigma = self.shift * t / (1 + (self.shift - 1) * t)
        return Level(t, 1 - sigma, sigma, _log_ratio(1 - sigma, sigma))

    def at(self, lam: float) -> Level:
        sigma, alpha = 1 / (1 + exp(lam)), 1 / (1 + exp(-lam))
        return Level(sigma / (self.shift - (self.shift - 1) * sigma), alpha, sigma, lam)


@dataclass(frozen=True)
class EDM:
    """Noise added to an unscaled signal, alpha = 1 and sigma = t (Karras et al. 2022, arXiv 2206.00364)."""

    start: float = 80.0
    end: float = 0.002

    def level(self, t: float) -> Level:
        return Level(t, 1.0, t, _log_ratio(1.0, t))

    def at(self, lam: float) -> Level:
        sigma = exp(-lam)
        return Level(sigma, 1.0, sigma, lam)


def from_edm_sigma(schedule: Schedule, edm_sigma: float) -> Level:
    """Return the noise level where sigma / alpha is `edm_sigma`, as EDM and diffusers define levels.

    Raises UsageError for a negative or infinite value.
    """
    if not (isfinite(edm_sigma) and edm_sigma >= 0):
        raise UsageError(f"sigma / alpha of {edm_sigma}: give a finite number of 0 or more")
    return schedule.at(-log(edm_sigma)) if edm_sigma else CLEAN_LEVEL


def _log_ratio(alpha: float, sigma: float) -> float:
    if sigma == 0:
        return inf
    return log(alpha / sigma) if alpha > 0 else -inf
