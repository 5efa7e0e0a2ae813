"""EVODiff (Li, Chen and Zeng 2025, arXiv 2509.26096), as in the authors' code: steps that reduce conditional variance.

A step predicts x0, looks ahead along the last difference of x0 estimates, then mixes this difference with the new one.
Inner products of recent estimates, per sample and channel, give the weights. All quantities are relative to the signal,
so that the constants, which the authors set for EDM models, apply on every schedule.

The method is tuned for image quality: its last step rescales the state, so the error does not vanish with the step
size.
"""

from dataclasses import dataclass
from math import isinf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.ddim import renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import from_x0
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level

MANY = 20  # steps above which the second move of a step has another length


class Memory(NamedTuple):
    """Solver state."""

    grid: Grid  # its levels with noise
    previous: Tensor | None = None  # (B, ...) estimate of x0 at the level before
    ahead: Tensor | None = None  # (B, ...) estimate of x0 at this level, from looking ahead


@dataclass(frozen=True)
class EVODiff:
    """One evaluation per step. Order 0, because it does not converge.

    Its init raises UsageError for a grid of rising noise.
    """

    order = 0
    nfe_per_step = 1
    one_step = False
    stochastic = False

    def init(self, grid: Grid) -> Memory:
        if grid[0].lam > grid[-1].lam:
            raise UsageError("EVODiff over rising noise: it only samples and cannot invert")
        return Memory(tuple(level for level in grid if level.sigma > 0))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: Memory) -> tuple[Tensor, Memory]:
        t, u = step.t, step.u
        grid, previous, ahead = state
        if isinf(u.lam - t.lam):
            return renoise(f(x, t), u), Memory(grid)
        here = f(x, t).x0 if ahead is None else ahead
        base = renoise(from_x0(here, x, t), u)
        if previous is None:
            return base, Memory(grid, here)
        if u == grid[-1]:
            return _rescaled(base, here - _kept(t, u) * previous, t, u), Memory(grid)
        moved, there = _corrected(f, base, here, previous, grid, step.index)
        return moved, Memory(grid, here, there)


def _corrected(
    f: Denoiser, base: Tensor, here: Tensor, previous: Tensor, grid: Grid, index: int
) -> tuple[Tensor, Tensor]:
    """Return the state (B, ...) at the end of step `index`, and the x0 estimate there from looking ahead.

    base: end of a first-order step. here, previous: x0 estimates at the start of the step and at the level before.
    """
    s, t, u = grid[index - 1 : index + 2]
    stride = 1 - u.edm_sigma / t.edm_sigma
    pace = (t.lam - s.lam) / (u.lam - t.lam)
    trust = (1 - ((u.edm_sigma + grid[-1].edm_sigma) / (grid[0].edm_sigma + grid[-1].edm_sigma)) ** 2) / 2
    habit = sqrt(u.edm_sigma * s.edm_sigma) / t.edm_sigma

    def share(new: Tensor, old: Tensor) -> Tensor:
        return (1 - trust) * habit + trust * _projection(new, old)

    known = share(here, previous)
    last = here - known * previous
    reach = stride / (2 * pace * torch.sigmoid(known.abs() / 4))
    there = f(base + u.alpha * reach * last, u).x0
    before, after = last / pace, (there - share(there, here) * here) * pace
    balance = torch.sigmoid(_projection(after + before, after - before).abs() / 2) / 2
    mixed = (1 - balance) * after - balance * before
    turn = (_projection(reach * (last - mixed), last) / stride).abs()
    excess = turn.clamp(max=2) - 0.5  # clamped, because it is unbounded where the difference vanishes
    if len(grid) - 1 > MANY:
        rate = (here - previous) / (1 / u.edm_sigma - 1 / t.edm_sigma)
        excess = -excess * torch.sigmoid(_projection(here, rate) * (2 - (u.edm_sigma / t.edm_sigma) ** 2))
    return base + u.alpha * stride / (2 * torch.sigmoid(excess)) * mixed, there


def _rescaled(base: Tensor, difference: Tensor, t: Level, u: Level) -> Tensor:
    """Return the end (B, ...) of the last step, from the end of a first-order step."""
    return (1 - sqrt(u.edm_sigma * t.edm_sigma)) * base + u.alpha * (1 - u.edm_sigma / t.edm_sigma) / 2 * difference


def _kept(t: Level, u: Level) -> float:
    """The share of the second-last estimate that the last step's difference subtracts."""
    ratio = u.edm_sigma / t.edm_sigma
    return 1 - sqrt(ratio if ratio < 0.5 else ratio - 0.5) / 2


def _projection(a: Tensor, b: Tensor) -> Tensor:
    """Return <a, b> / <b, b>, clamped to [-2, 2], and 0 where b is 0.

    The inner products are per sample and channel of (B, C, ...), and per sample of (B, n).
    """
    inner, square = _inner(a, b), _inner(b, b)
    return (inner / square.clamp(min=torch.finfo(b.dtype).tiny)).clamp(-2, 2)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    kept = max(1, min(2, a.ndim - 1))
    total = (a * b).reshape(*a.shape[:kept], -1).sum(-1)
    return total.reshape(*total.shape, *[1] * (a.ndim - kept))
