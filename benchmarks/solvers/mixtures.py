"""The race on problems in closed form, against their exact flow.

On a line the flow keeps order: a state and its end are the same quantile of what the states and the data are spread by.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from benchmarks.result import Section
from benchmarks.solvers.course import course
from benchmarks.solvers.networks import joined, limited, told
from benchmarks.solvers.race import Plan, rows
from fastdiff.apps.tuning.measure import Batch
from fastdiff.solvers.closed_form import MODES, SCHEDULES, Mixture
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import CLEAN_LEVEL, Level

PROBLEMS = {
    "mixture, scaled linear levels": "discrete",
    "mixture, linear levels": "linear",
    "mixture, flow": "flow",
}
NUMBERS = (4, 2, 2)  # in a start
FITTED = 32  # starts, in two batches
FAR = 12.0  # deviations, beyond which nothing lies


def run(calls: Sequence[int], limit: int | None) -> Section:
    plan = Plan(rows=FITTED // 2, batches=2, grids=2, dear=False, seeds=limited(limit), calls=calls)
    found = []
    for title, schedule in PROBLEMS.items():
        f = Mixture(SCHEDULES[schedule])
        few = [start(f, range(first, first + plan.rows)) for first in range(0, FITTED, plan.rows)]
        others = [start(f, range(FITTED, 2 * FITTED))]
        held = [start(f, range(2 * FITTED, 2 * FITTED + plan.seeds))]
        known, measured = (course(batches, [end(x, f) for f, x in batches]) for batches in (few, held))
        found.append(told(title, list(rows(known, others, measured, plan))))
    return joined(found)


def start(f: Mixture, items: Sequence[int]) -> Batch:
    like = torch.empty(len(items), *NUMBERS, dtype=torch.float64)
    return f, f.schedule.level(f.schedule.start).sigma * Noise(0, tuple(items))(like)


def end(x: Tensor, f: Mixture) -> Tensor:
    """Where the exact flow carries states (B, ...) of the noisiest level, at sigma 0."""
    top = f.schedule.level(f.schedule.start)
    return torch.tensor([quantile(share(state, top)) for state in x.flatten().tolist()], dtype=x.dtype).reshape(x.shape)


def share(x: float, level: Level) -> float:
    """Of the states at a level, how many are less than x."""
    return sum(
        weight * float(norm.cdf((x - level.alpha * mean) / sqrt(level.alpha**2 * variance + level.sigma**2)))
        for weight, mean, variance in MODES
    )


def quantile(wanted: float) -> float:
    """The data point above this share of the data."""
    means, deviations = [mean for _, mean, _ in MODES], [sqrt(variance) for _, _, variance in MODES]
    low, high = min(means) - FAR * max(deviations), max(means) + FAR * max(deviations)
    return float(brentq(lambda x: share(x, CLEAN_LEVEL) - wanted, low, high, xtol=1e-13))
