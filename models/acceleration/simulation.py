"""The cost of dynamic caches at a threshold, from the changes that a calibration has recorded."""

from collections.abc import Callable

from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.models.acceleration.rules import FirstBlock, TeaCache


def cost_of_first_block(calibration: Calibration, rule: FirstBlock) -> float:
    """Return the mean cost of a run with this rule, a share of a plain run."""
    changes, threshold = calibration.first_block.tolist(), rule.threshold

    def computed(row: int) -> int:
        count, reference = 1, 0
        for step in range(1, calibration.steps):
            if changes[row][step][reference] > threshold or step == calibration.steps - 1:
                count, reference = count + 1, step
        return count

    return _mean_cost(calibration, computed, FirstBlock.head)


def cost_of_teacache(calibration: Calibration, rule: TeaCache) -> float:
    """Return the mean cost of a run with this rule, a share of a plain run."""
    changes, threshold = rule.output_change(calibration.modulated).tolist(), rule.threshold

    def computed(row: int) -> int:
        count, total = 1, 0.0
        for step in range(1, calibration.steps):
            total += changes[row][step]
            if total >= threshold or step == calibration.steps - 1:
                count, total = count + 1, 0.0
        return count

    return _mean_cost(calibration, computed, 0)


def _mean_cost(calibration: Calibration, computed: Callable[[int], int], head: int) -> float:
    rows, steps = len(calibration.modulated), calibration.steps
    share = sum(computed(row) for row in range(rows)) / (rows * steps)
    return 1 - (1 - share) * sum(calibration.shares[head:])
