"""Means over measures of which some were not taken."""

from collections.abc import Sequence
from statistics import fmean


def mean(values: Sequence[float | None]) -> float | None:
    """Of the values that are not None; None where there are none."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None
