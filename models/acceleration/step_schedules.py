"""Steps at which a network computes all its blocks, known before the run."""

from collections.abc import Sequence

from fastdiff.solvers.errors import UsageError

BEGINNING = 2  # first steps of a schedule by changes


def every(interval: float, steps: int, first: int) -> frozenset[int]:
    """Return the `first` steps of a run of `steps`, every `interval`-th step after them, and the last step.

    An interval that is no whole number is kept on average. Raises UsageError for intervals below 1.
    """
    if interval < 1:
        raise UsageError(f"an interval of {interval:g} steps: give 1 or more")
    start = min(first, steps) - 1
    marks = [int((step - start) / interval + 1e-9) for step in range(steps)]
    regular = {step for step in range(start + 1, steps) if marks[step] > marks[step - 1]}
    return frozenset({*range(start + 1), *regular, steps - 1})


def by_change(changes: Sequence[float], threshold: float) -> frozenset[int]:
    """Return the steps at which a feature is computed anew: where its accumulated change exceeds `threshold`.

    changes: of the feature at each step, from the step before. The first BEGINNING steps and the last one compute; at a
    threshold of 0 or below, all steps do.
    """
    computed, total = set[int](), 0.0
    for step, change in enumerate(changes):
        total += change
        if step < BEGINNING or step == len(changes) - 1 or threshold <= 0 or total > threshold:
            computed.add(step)
            total = 0.0
    return frozenset(computed)


def by_magnitude(ratios: Sequence[float], threshold: float, *, longest: int, first: int) -> frozenset[int]:
    """Return the computed steps of MagCache (Ma et al. 2025, arXiv 2506.09045).

    ratios: magnitude of what all blocks add over that of the step before, for each step. Beyond the `first` steps, a
    step is skipped while the accumulated deviation of the product of ratios from 1 is at most `threshold`, `longest`
    steps in a row at most; 0 skips none. The last step computes.
    """
    computed, product, error, skipped = set(range(first)), 1.0, 0.0, 0
    for step in range(first, len(ratios)):
        product *= ratios[step]
        error += abs(1 - product)
        skipped += 1
        if step == len(ratios) - 1 or error > threshold or skipped > longest:
            computed.add(step)
            product, error, skipped = 1.0, 0.0, 0
    return frozenset(computed)
