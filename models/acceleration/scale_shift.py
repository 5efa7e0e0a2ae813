"""Scale-shift adjustment of reused features, fitted in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.models.acceleration.block_calls import (
    Streams,
    call_of,
    hidden_of,
    minus,
    plus,
    returned,
    scaled,
    take_rows,
)
from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.hooks import Block, Forward, HookedDenoiser
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid, step_at
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.schedule import Level

RIDGE = 1e-3  # of the variance of a channel, towards scale 1


@dataclass(frozen=True, eq=False)
class FittingDenoiser(HookedDenoiser):
    """Runs with a schedule and fits its scales and shifts on the way.

    Where the schedule reuses, the block computes too, on the states of the cached run. The least-squares scale and
    shift of each channel, over the tokens of the rows of these `items`, map what the block added before to what it adds
    now. The run goes on with the adjusted features.
    """

    grid: Grid
    block_schedule: BlockSchedule
    items: Sequence[int]  # of the batch
    size: int  # of the batch; a call has one row an item, or a multiple
    added: dict[int, Streams] = field(default_factory=dict)
    fits: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)  # (S, D), by block and step

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        step = step_at(self.grid, level)

        def fitted(*inputs: Any, **named: Any) -> Any:
            call = call_of(block, forward, inputs, named)
            streams = call.compute()
            true = minus(streams, call.streams)
            if block.index not in self.added or self.block_schedule.computed[block.index][step]:
                self.added[block.index] = true
                return returned(streams)
            old = self.added[block.index]
            rows = [row for row in range(call.rows) if row % self.size in self.items]
            fit = _fit(take_rows(old, rows), take_rows(true, rows))
            self.fits[block.index, step] = fit
            return returned(plus(call.streams, scaled(old, *fit)))

        return fitted


def fit_scale_shift(
    schedule: BlockSchedule,
    f: Denoiser,
    network: nn.Module,
    solver: Solver[Any],
    grid: Grid,
    x: Tensor,
    items: Sequence[int] | None = None,
) -> BlockSchedule:
    """Return the schedule with scales and shifts, fitted on these items of x (B, ...), all by default.

    The run from x that fits them costs a plain run.
    """
    fitting = FittingDenoiser(f, network, grid, schedule, range(len(x)) if items is None else items, len(x))
    integrate(fitting, solver, x, grid)
    if not fitting.fits:
        return schedule
    like = next(iter(fitting.fits.values()))[0]
    nothing = torch.ones_like(like), torch.zeros_like(like)
    found = [
        [fitting.fits.get((block, step), nothing) for step in range(schedule.steps)]
        for block in range(len(schedule.computed))
    ]
    scales, shifts = (torch.stack([torch.stack([pair[part] for pair in row]) for row in found]) for part in (0, 1))
    return replace(schedule, scales=scales.float().cpu(), shifts=shifts.float().cpu())


def _fit(old: Streams, true: Streams) -> tuple[Tensor, Tensor]:
    """Return the scales (S, D) and the shifts (S, D) of S streams; 1 and 0 for one that the block drops."""
    like = hidden_of(true)
    nothing = torch.ones_like(like[0, 0]), torch.zeros_like(like[0, 0])
    pairs = zip(old, true, strict=True)
    found = [nothing if a is None or b is None else _least_squares(a, b) for a, b in pairs]
    scales, shifts = (torch.stack(each) for each in zip(*found, strict=True))
    return scales, shifts


def _least_squares(old: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale (D,) and shift (D,) that map features (R, N, D) to the true ones with the smallest error."""
    a, b = (each.flatten(0, 1).to(torch.promote_types(old.dtype, torch.float32)) for each in (old, true))
    centred = a - a.mean(0)
    variance = centred.square().mean(0)
    ridge = RIDGE * variance + torch.finfo(torch.float32).tiny
    scale = ((centred * b).mean(0) + ridge) / (variance + ridge)
    return scale.to(old.dtype), (b.mean(0) - scale * a.mean(0)).to(old.dtype)
