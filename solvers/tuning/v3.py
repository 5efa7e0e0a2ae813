"""Estimates the statistics of DPM-Solver-v3 (Zheng et al. 2023, arXiv 2310.13268, section 3.1) on any network.

l is the mean diagonal of sigma d eps / dx, by forward-mode products with random signs. s and b are the least-squares
line through the pairs (f, f'), where f' is the derivative of f along the sampling equation. Its part l' comes from the
neighbouring nodes; that of x0 from two evaluations, a short first-order step to either side, because a timestep is a
plain number without derivative.
"""

from collections.abc import Iterator, Sequence
from functools import partial, reduce
from math import hypot, sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.tuning.teacher import Watch, unwatched
from fastdiff.solvers.v3_statistics import Statistics

Batch = tuple[Denoiser, Tensor]  # denoiser with its conditioning bound, clean data (B, ...)
STRIDE = 0.02  # to either side, in lam: the error of a derivative falls with its square, rounding grows as it shrinks
FLAT = 1e-3  # deviation of f, relative to that of the data, at which its slope is halved
ROUNDING = 1e-12  # deviation of f, relative to that of x / alpha, that counts as none


def fit(
    batches: Sequence[Batch], nodes: Grid, seed: int = 0, watch: Watch = unwatched, *, pooled: bool = False
) -> Statistics:
    """Estimate the statistics of a network at `nodes`: `log_snr` with 121 to 1201 levels.

    A guided denoiser gives the statistics of its guidance. The error falls with the square root of the total number of
    rows K, 1000 to 4000 in the paper. A node costs 4 K rows of evaluations, a quarter of them forward-mode products.
    Memory holds the results and a few copies of a batch, in float64. Calls `watch` twice per node with the progress.

    `pooled`: all elements of a channel share statistics, (C, 1, ...), which apply to states of any size and are
    accurate from few rows: B rows of n elements per channel average B n values.

    Where f hardly varies, near pure noise and near no noise, s is shrunk to 0: following such a line gains nothing, and
    e^S carries its errors over all steps that cross it.
    """
    lam = torch.tensor([level.lam for level in nodes], dtype=torch.float64)
    linear, lines, data = [], [], _deviation(batches)
    for level in nodes:
        linear.append(_linear(batches, seed, level, pooled))
        watch(len(linear), 2 * len(nodes))
    (change,) = torch.gradient(torch.stack(linear), spacing=(lam,), dim=0, edge_order=2)
    for level, *coefficients in zip(nodes, linear, change, strict=True):
        moments = _moments(batches, seed, level, (nodes[0].lam, nodes[-1].lam), pooled, *coefficients)
        lines.append(moments.line(max(FLAT * data, ROUNDING * hypot(1, level.edm_sigma))))
        watch(len(nodes) + len(lines), 2 * len(nodes))
    slope, offset = map(torch.stack, zip(*lines, strict=True))
    return Statistics(lam, torch.stack(linear), slope, offset)


class Moments(NamedTuple):
    """Moments of pairs (f, f'), per element (...)."""

    rows: int
    f: Tensor  # mean
    df: Tensor  # mean
    square: Tensor  # sum of squared deviations of f
    product: Tensor  # sum of products of deviations

    @classmethod
    def of(cls, f: Tensor, df: Tensor) -> "Moments":
        """Return the moments of rows (B, ...)."""
        a, b = f - f.mean(0), df - df.mean(0)
        return cls(len(f), f.mean(0), df.mean(0), (a * a).sum(0), (a * b).sum(0))

    def line(self, flat: float) -> tuple[Tensor, Tensor]:
        """Return s and b of f' = s f + b by ridge regression: s is halved where f deviates by `flat`."""
        slope = self.product / (self.square + self.rows * flat**2)
        return slope, self.df - slope * self.f


def merged(a: Moments, b: Moments) -> Moments:
    """Return the moments of both sets (Chan et al. 1979): large means lose no digits of small deviations."""
    rows, f, df = a.rows + b.rows, b.f - a.f, b.df - a.df
    share, weight = b.rows / rows, a.rows * b.rows / rows
    return Moments(
        rows,
        a.f + share * f,
        a.df + share * df,
        a.square + b.square + weight * f * f,
        a.product + b.product + weight * f * df,
    )


def _rows(values: Tensor, pooled: bool) -> Tensor:
    """Return values (B, ...), or if pooled the elements of every channel as rows, (B n, C, 1, ...)."""
    if not pooled:
        return values
    return values.movedim(1, -1).flatten(0, -2).reshape(-1, values.shape[1], *[1] * (values.ndim - 2))


def _linear(batches: Sequence[Batch], seed: int, level: Level, pooled: bool) -> Tensor:
    """Return l (...) at a level."""
    total, count = torch.zeros(()), 0
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no forward mode
        for f, x, noise in _noised(batches, seed, level):
            signs = noise(x, 1).sign()
            product = jvp(partial(f, level=level), (x,), (signs,))[1]
            rows = _rows(signs * product.x0, pooled)
            total, count = total + rows.sum(0), count + len(rows)
    return 1 - level.alpha * total / count


def _moments(
    batches: Sequence[Batch],
    seed: int,
    level: Level,
    span: tuple[float, float],
    pooled: bool,
    linear: Tensor,
    slope: Tensor,
) -> Moments:
    """Return the moments of f and f' at a level, from l and l' (...) there."""
    pairs = (_pair(f, x, level, span, linear, slope) for f, x, _ in _noised(batches, seed, level))
    moments = (Moments.of(_rows(a, pooled), _rows(b, pooled)) for a, b in pairs)
    return reduce(merged, moments)


def _pair(
    f: Denoiser, x: Tensor, level: Level, span: tuple[float, float], linear: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return f and f' (B, ...) of the states x (B, ...). Evaluates no level outside `span`, in lam."""
    here = f(x, level)
    below, above = (f.schedule.at(lam) for lam in (max(level.lam - STRIDE, span[0]), min(level.lam + STRIDE, span[1])))
    moved = (f(renoise(here, above), above).x0 - f(renoise(here, below), below).x0) / (above.lam - below.lam)
    signal = x / level.alpha
    return (1 - linear) * signal - here.x0, (linear - 1) * level.edm_sigma * here.eps - slope * signal - moved


def _deviation(batches: Sequence[Batch]) -> float:
    """Return the standard deviation of all clean data."""
    parts = [clean.double().flatten() for _, clean in batches]
    count = sum(map(len, parts))
    mean = sum(part.sum().item() for part in parts) / count
    return sqrt(sum((part - mean).square().sum().item() for part in parts) / count)


def _noised(batches: Sequence[Batch], seed: int, level: Level) -> Iterator[tuple[Denoiser, Tensor, Noise]]:
    """Yield the denoisers with their states (B, ...) at a level, float64, and the source of their noise.

    An item has the same noise at all levels, so l is as smooth in lam as the network, and l' needs no smoothing.
    """
    first = 0
    for f, clean in batches:
        noise = Noise(seed, tuple(range(first, first + len(clean))))
        first += len(clean)
        clean = clean.double()
        yield f.fresh(), level.alpha * clean + level.sigma * noise(clean), noise
