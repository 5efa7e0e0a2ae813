"""A cache of what every block of a transformer adds, with a schedule that is known before the run."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from fastdiff.models.acceleration.block_calls import Streams, call_of, hidden_of, minus, nbytes, plus, returned, scaled
from fastdiff.models.acceleration.block_schedule import BlockSchedule
from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.hooks import Block, Forward
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class BlockCache(CachedDenoiser):
    """Skips the blocks that `block_schedule` does not compute, in all rows alike.

    A skipped block adds what it added at its last computed step, times the scale plus the shift of the schedule. A
    block whose cache is empty, or is of another number of rows, computes.

    Raises UsageError if the schedule is for other numbers of blocks or steps.
    """

    block_schedule: BlockSchedule
    added: dict[int, Streams] = field(default_factory=dict, kw_only=True)  # by each block, at its last computed step

    def __post_init__(self) -> None:
        super().__post_init__()
        known = len(self.block_schedule.computed), self.block_schedule.steps
        given = len(self._blocks), len(self.grid) - 1
        if known != given:
            raise UsageError("a schedule of {} blocks and {} steps for a run of {} and {}".format(*known, *given))

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        step = self.step(level)

        def cached(*inputs: Any, **named: Any) -> Any:
            call = call_of(block, forward, inputs, named)
            self.log.rows = call.rows
            added = self.added.get(block.index)
            if added is None or len(hidden_of(added)) != call.rows or self.block_schedule.computed[block.index][step]:
                streams = call.compute()
                self.added[block.index] = minus(streams, call.streams)
                self.log.nbytes = max(self.log.nbytes, sum(map(nbytes, self.added.values())))
                return returned(streams)
            self.log.saved.append((self.log.shares[block.index], range(call.rows)))
            return returned(plus(call.streams, self._adjusted(added, block.index, step)))

        return cached

    def fresh(self) -> Self:
        return replace(super().fresh(), added={})

    def _adjusted(self, added: Streams, block: int, step: int) -> Streams:
        scales, shifts = self.block_schedule.scales, self.block_schedule.shifts
        if scales is None or shifts is None:
            return added
        wanted = (len(added), hidden_of(added).shape[-1])
        if tuple(scales.shape[2:]) != wanted:
            raise UsageError("a schedule whose scales are for {} streams of {} channels".format(*scales.shape[2:]))
        return scaled(added, scales[block, step], shifts[block, step])
