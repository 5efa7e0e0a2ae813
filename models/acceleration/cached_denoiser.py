"""Base of the caches: a denoiser that skips computations of its network, with their cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from fastdiff.models.acceleration.block_calls import check_blocks
from fastdiff.models.acceleration.cost import CachedCall, CacheLog, measured_shares
from fastdiff.models.hooks import HookedDenoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid, step_at
from fastdiff.solvers.schedule import Level


@dataclass
class SkippedBlocks:
    """Blocks that do not compute in the call at hand."""

    rows: int = 0
    blocks: list[tuple[int, Sequence[int]]] = field(default_factory=list)  # index of a block, and skipped rows


@dataclass(frozen=True, eq=False)
class CachedDenoiser(HookedDenoiser):
    """Base of denoisers with a cache of what blocks of `network` add.

    Each run begins with an empty cache, and its first call computes everything. `log` is that of the last run, also
    of a run by a copy made by `fresh`, as `integrate` makes one.
    """

    grid: Grid  # of the run
    log: CacheLog = field(default_factory=CacheLog, kw_only=True)
    skipped: SkippedBlocks = field(default_factory=SkippedBlocks, kw_only=True)

    def __post_init__(self) -> None:
        check_blocks(self.network)

    @property
    def cost(self) -> float:
        """Return the calls of the network that cost as much as the run: its sum over calls of the computed share."""
        return self.log.cost

    @property
    def decisions(self) -> tuple[CachedCall, ...]:
        """Return the step of every call of the run, and the computed share of each row."""
        return tuple(self.log.calls)

    @property
    def nbytes(self) -> int:
        """Return the largest size of the cache in the run, bytes."""
        return self.log.nbytes

    def step(self, level: Level) -> int:
        return step_at(self.grid, level)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        self.skipped.blocks.clear()
        if not self.log.shares:
            with measured_shares(self.network) as shares:
                estimate = super().__call__(x, level)
            self.log.shares = tuple(shares)
        else:
            estimate = super().__call__(x, level)
        self.log.add(self.step(level), self.skipped.rows or len(x), self.skipped.blocks)
        return estimate

    def fresh(self) -> Self:
        self.log.clear()
        return super().fresh()
