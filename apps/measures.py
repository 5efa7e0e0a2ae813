"""Means of measures, of which some may be missing."""

from collections.abc import Sequence
from statistics import fmean


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if all are."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None
