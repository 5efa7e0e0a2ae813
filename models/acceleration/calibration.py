"""Calibration of caches: how the features of a network change from step to step of plain runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.models.acceleration.block_calls import (
    Streams,
    call_of,
    check_blocks,
    hidden_of,
    minus,
    plus,
    returned,
)
from fastdiff.models.acceleration.cost import measured_shares
from fastdiff.models.acceleration.modulation import modulated_input
from fastdiff.models.acceleration.rules import TINY, relative_change
from fastdiff.models.hooks import Block, Forward, HookedDenoiser
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, step_at
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True)
class Calibration:
    """Changes of features in R rows of plain runs of N steps through a network of L blocks.

    A change is relative, and that of step 0 is 0.
    """

    shares: tuple[float, ...]  # (L) of each block, in the FLOPs of a call
    blocks: Tensor  # (R, L, N) change of what each block adds, from the step before
    first_block: Tensor  # (R, N, N) change of what the first block adds, at a step (dim 1) from an earlier one (dim 2)
    modulated: Tensor  # (R, N) change of the first block's modulated input, from the step before
    stack: Tensor  # (R, N) change of what all blocks add, from the step before
    ratios: Tensor  # (R, N) magnitude of what all blocks add over that of the step before, mean of the tokens

    @property
    def steps(self) -> int:
        return self.blocks.shape[2]

    @property
    def changes(self) -> Tensor:
        """Return the change (L, N) of what each block adds, mean of the rows."""
        return self.blocks.mean(0)

    def cost_of_steps(self, computed: Collection[int]) -> float:
        """Return the cost of a run whose blocks compute at these steps alone, a share of a plain run."""
        return 1 - (1 - len(computed) / self.steps) * sum(self.shares)


@dataclass
class Recording:
    """What a recording run has collected."""

    steps: list[int] = field(default_factory=list)
    added: dict[int, Streams] = field(default_factory=dict)  # by each block at the last call
    total: Streams = ()  # added by the blocks so far in the call at hand
    previous: Streams = ()  # added by all blocks at the call before
    modulated: list[Tensor] = field(default_factory=list)  # of the last two calls, (R, N, D)
    first: list[Tensor] = field(default_factory=list)  # (R, N, D) added by the first block at every call
    blocks: list[list[Tensor]] = field(default_factory=list)  # call x block, (R,)
    inputs: list[Tensor] = field(default_factory=list)  # (R,) at every call, as the two below
    stack: list[Tensor] = field(default_factory=list)
    ratios: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class RecordingDenoiser(HookedDenoiser):
    """Records the changes of features in a run. The run itself is unchanged."""

    grid: Grid
    recording: Recording = field(default_factory=Recording)

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        kept, last = self.recording, len(self._blocks) - 1

        def recorded(*inputs: Any, **named: Any) -> Any:
            call = call_of(block, forward, inputs, named)
            streams = call.compute()
            added = minus(streams, call.streams)
            if block.index == 0:
                if kept.first and len(kept.first[0]) != call.rows:
                    raise UsageError("a calibration under guidance of some steps alone: all calls need the same rows")
                kept.steps.append(step_at(self.grid, level))
                kept.blocks.append([])
                kept.modulated = [*kept.modulated[-1:], modulated_input(call)]
                kept.inputs.append(relative_change(kept.modulated[-1], kept.modulated[0]))
                kept.first.append(hidden_of(added))
                kept.total = added
            else:
                kept.total = plus(kept.total, added)
            kept.blocks[-1].append(_change(added, kept.added.get(block.index, added)))
            kept.added[block.index] = added
            if block.index == last:
                previous = kept.previous or kept.total
                kept.stack.append(relative_change(hidden_of(kept.total), hidden_of(previous)))
                kept.ratios.append(_ratio(hidden_of(kept.total), hidden_of(previous)))
                kept.previous = kept.total
            return returned(streams)

        return recorded


def calibrate(f: Denoiser, network: nn.Module, solver: Solver[Any], grid: Grid, x: Tensor) -> Calibration:
    """Return the calibration of a plain run of `solver` over `grid` from x (B, ...).

    f: a denoiser that calls `network`. R is the number of rows of a call: 2 B under classifier-free guidance. The
    memory grows with what the first block adds at all steps.

    Raises UsageError for a network whose blocks caches do not know, and for runs that do not call it once per step on
    the same number of rows.
    """
    check_blocks(network)
    with measured_shares(network) as shares:
        f.fresh()(x, grid[0])
    recorder = RecordingDenoiser(f, network, grid)
    integrate(recorder, solver, x, grid)
    kept = recorder.recording
    if kept.steps != list(range(len(grid) - 1)):
        raise UsageError(f"{type(solver).__name__} does not call the network once in every step")
    return Calibration(
        tuple(shares),
        torch.stack([torch.stack(each, 1) for each in kept.blocks], 2).cpu(),
        _from_earlier(kept.first).cpu(),
        *(torch.stack(each, 1).cpu() for each in (kept.inputs, kept.stack, kept.ratios)),
    )


def joined(parts: Sequence[Calibration]) -> Calibration:
    """Return the calibration on the rows of all parts, which are of the same network, grid, solver and guidance."""
    names = ("blocks", "first_block", "modulated", "stack", "ratios")
    return Calibration(parts[0].shares, *(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _from_earlier(features: Sequence[Tensor]) -> Tensor:
    """Return the relative change (R, N, N) of features at every step (dim 1) from those at each earlier one (dim 2)."""
    none = torch.zeros_like(relative_change(features[0], features[0]))
    rows = [
        torch.stack([relative_change(new, old) for old in features[:step]] + [none] * (len(features) - step), 1)
        for step, new in enumerate(features)
    ]
    return torch.stack(rows, 1)


def _change(new: Streams, old: Streams) -> Tensor:
    """Return the mean absolute change (R,) of streams over the mean magnitude of the new ones, per row."""
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(new, old, strict=True) if a is not None and b is not None]
    moved = torch.stack([(a - b).abs().sum(1, dtype=torch.float32) for a, b in pairs]).sum(0)
    return moved / (torch.stack([a.abs().sum(1, dtype=torch.float32) for a, _ in pairs]).sum(0) + TINY)


def _ratio(new: Tensor, old: Tensor) -> Tensor:
    """Return the mean over tokens (R,) of the ratio of magnitudes of features (R, N, D)."""
    after, before = (torch.linalg.vector_norm(each.float(), dim=-1) for each in (new, old))
    ratio: Tensor = (after / (before + TINY)).mean(1)
    return ratio
