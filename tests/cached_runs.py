"""Runs of small real transformers in float64, for tests of caches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tiny_pixart
import torch
from torch import Tensor

from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.acceleration.calibration import Calibration, calibrate
from fastdiff.models.acceleration.registry import Blocks, Cache, Stack, Tokens, cached
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps, TeaCache
from fastdiff.models.acceleration.step_schedules import by_magnitude, every
from fastdiff.solvers.denoiser import Denoiser, Network
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import DiscreteVP

SCHEDULE = DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist())
TOKENS, WIDTH = 5, 16  # of prompts


@dataclass(frozen=True)
class Runs:
    """Runs of dpmpp-2m through a tiny PixArt of `blocks` blocks, one random state and prompt a row."""

    steps: int = 12
    rows: int = 3
    blocks: int = 4

    @cached_property
    def network(self) -> Any:
        return tiny_pixart.transformer(num_layers=self.blocks).double().requires_grad_(False)

    @cached_property
    def levels(self) -> Grid:
        return grid(time_uniform, SCHEDULE, self.steps)

    @cached_property
    def x(self) -> Tensor:
        """(R, 4, 8, 8)"""
        return _random(self.rows, 4, 8, 8)

    def denoiser(self, rows: Sequence[int] | None = None) -> Denoiser:
        """Return the denoiser of these rows, of all by default."""
        prompts = 3 * _random(self.rows, TOKENS, WIDTH)[list(range(self.rows) if rows is None else rows)]

        def net(x: Tensor, timestep: Tensor) -> Tensor:
            conditions = {"resolution": None, "aspect_ratio": None}
            out: Tensor = self.network(x, prompts, timestep, added_cond_kwargs=conditions, return_dict=False)[0]
            return out[:, :4]

        return Network(net, SCHEDULE, "eps", SCHEDULE.timestep, dtype=torch.float64)

    def plain(self) -> Tensor:
        return integrate(self.denoiser(), dpmpp_2m(), self.x, self.levels).x

    def cached(self, cache: Cache, rows: Sequence[int] | None = None, *, coupled: bool = False) -> CachedDenoiser:
        return cached(cache, self.denoiser(rows), self.network, self.levels, dpmpp_2m(), coupled=coupled)

    def sampled(self, f: Denoiser, rows: Sequence[int] | None = None) -> Tensor:
        x = self.x if rows is None else self.x[list(rows)]
        return integrate(f, dpmpp_2m(), x, self.levels).x

    @cached_property
    def calibration(self) -> Calibration:
        return calibrate(self.denoiser(), self.network, dpmpp_2m(), self.levels, self.x)


def switched_off(steps: int, blocks: int, shares: Sequence[float] = ()) -> dict[str, Cache]:
    """Return every cache with the setting that computes everything."""
    everything = ((True,) * steps,) * blocks
    return {
        "blocks": Blocks(BlockSchedule(everything, tuple(shares) or (0.0,) * blocks)),
        "first-block": Stack(FirstBlock(0.0)),
        "teacache": Stack(TeaCache(0.0)),
        "taylor": Stack(FixedSteps(every(1, steps, 1)), order=2),
        "magcache": Stack(FixedSteps(by_magnitude([1.0] * steps, 0.0, longest=0, first=1))),
        "tokens": Tokens(1.0, 0),
    }


def _random(rows: int, *shape: int) -> Tensor:
    """Return (rows, *shape), the same numbers in a row however many rows there are."""
    seeded = (torch.Generator().manual_seed(row) for row in range(rows))
    return torch.stack([torch.randn(shape, dtype=torch.float64, generator=each) for each in seeded])
