"""Base of the caches: a denoiser that skips computations of its network, with their cost."""

from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from fastdiff.models.acceleration.block_calls import check_blocks
from fastdiff.models.acceleration.cost import CachedCall, CacheLog, measured_shares
from fastdiff.models.hooks import HookedDenoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid, step_at
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class CachedDenoiser(HookedDenoiser):
    """Base of denoisers with a cache of what blocks of `network` add.

    A run begins with an empty cache, and its first call computes everything. `cost`, `decisions` and `nbytes` are
    those of the last run, also after `integrate`, which runs a copy made by `fresh`.

    Raises UsageError for a network whose blocks caches do not know.
    """

    grid: Grid  # of the run
    log: CacheLog = field(default_factory=CacheLog, kw_only=True)

    def __post_init__(self) -> None:
        check_blocks(self.network)

    @property
    def sequential(self) -> bool:
        return True

    @property
    def cost(self) -> float:
        """Return the number of calls of the network that cost as much as the run, in FLOPs."""
        return self.log.cost

    @property
    def decisions(self) -> tuple[CachedCall, ...]:
        """Return the step of every call of the run, and the computed share of each row."""
        return tuple(self.log.calls)

    @property
    def nbytes(self) -> int:
        """Return the largest size of the cache in the run, bytes."""
        return self.log.nbytes

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        if self.log.shares:
            estimate = super().__call__(x, level)
        else:
            with measured_shares(self.network) as shares:
                estimate = super().__call__(x, level)
            self.log.shares = tuple(shares)
        self.log.add(self.step(level))
        return estimate

    def fresh(self) -> Self:
        self.log.clear()
        return super().fresh()

    def step(self, level: Level) -> int:
        """Return the step of the run that calls the network at this level."""
        return step_at(self.grid, level)
