"""Means of measures, of which some may be missing, and intervals of rates."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean
from typing import Any


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if all are."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None


def wilson_interval(successes: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rate of `successes` in `of` (1 or more) trials (Wilson 1927), ends in [0, 1]."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, scale = successes / of, 1 + z * z / of
    middle = (rate + z * z / (2 * of)) / scale
    half = z * sqrt(rate * (1 - rate) / of + z * z / (4 * of * of)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def accuracy(right: int, of: int, flags: Sequence[str] = ()) -> dict[str, Any]:
    """Return an accuracy over `of` (1 or more) pictures as reports have it, with the classifier's red flags if any."""
    record = {"accuracy": right / of, "right": right, "of": of, "interval_95": wilson_interval(right, of)}
    return record | ({"flags": list(flags)} if flags else {})
