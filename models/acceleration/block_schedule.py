"""Schedules that say which blocks of a network compute at which steps of a run.

Block Caching (Wimbauer et al. 2024, arXiv 2312.03209): a block whose output changes little is reused.
"""

from dataclasses import dataclass

from torch import Tensor

from fastdiff.models.acceleration.budget import smallest_threshold
from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.models.acceleration.step_schedules import by_change


@dataclass(frozen=True, eq=False)
class BlockSchedule:
    """The blocks that compute at each step. Other blocks reuse what they added at their last computed step.

    Of S streams of D channels, `scales` and `shifts` adjust what a block reuses; None leaves it as it is.
    """

    computed: tuple[tuple[bool, ...], ...]  # of L blocks at N steps
    shares: tuple[float, ...]  # (L) of each block, in the FLOPs of a call
    scales: Tensor | None = None  # (L, N, S, D)
    shifts: Tensor | None = None  # (L, N, S, D)

    @property
    def cost(self) -> float:
        """Return the calls of the network that cost as much as a run."""
        saved = sum(share * row.count(False) for share, row in zip(self.shares, self.computed, strict=True))
        return self.steps - saved

    @property
    def steps(self) -> int:
        return len(self.computed[0])


def schedule_by_threshold(calibration: Calibration, threshold: float) -> BlockSchedule:
    """Return the schedule that reuses what a block adds while its accumulated change is at most `threshold`.

    The first steps and the last one compute all blocks (`by_change`); at a threshold of 0, all steps do.
    """
    steps = [by_change(changes, threshold) for changes in calibration.changes.tolist()]
    computed = tuple(tuple(step in chosen for step in range(calibration.steps)) for chosen in steps)
    return BlockSchedule(computed, calibration.shares)


def schedule_by_budget(calibration: Calibration, budget: float) -> BlockSchedule:
    """Return the schedule of the smallest threshold whose cost is at most `budget`, a share of a plain run in (0, 1].

    Raises UsageError if the steps that must compute cost more.
    """

    def cost(threshold: float) -> float:
        return schedule_by_threshold(calibration, threshold).cost / calibration.steps

    return schedule_by_threshold(calibration, smallest_threshold(cost, budget))
