"""Paired bootstrap over pages: the confidence interval of the mean difference between two methods."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its 95 % percentile interval."""

    mean: float
    low: float
    high: float


def paired_difference(before: np.ndarray, after: np.ndarray, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of `after - before` over pages (N,), with the interval of resampled means.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    difference = np.asarray(after, float) - np.asarray(before, float)  # (N,)
    drawn = np.random.default_rng(seed).integers(len(difference), size=(resamples, len(difference)))
    low, high = np.percentile(difference[drawn].mean(axis=1), (2.5, 97.5))
    return Interval(float(difference.mean()), float(low), float(high))
