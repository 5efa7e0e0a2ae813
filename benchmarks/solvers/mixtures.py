"""The comparison on problems in closed form, against their exact flow.

In one dimension the flow keeps order: a state and its end are the same quantile of their distributions.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from benchmarks.result import Section
from benchmarks.solvers.comparison import Plan, rows
from benchmarks.solvers.networks import join, limited, section
from benchmarks.solvers.problem import make_problem
from fastdiff.apps.tuning.measure import Batch
from fastdiff.solvers.closed_form import MODES, SCHEDULES, Mixture
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import CLEAN_LEVEL, Level

PROBLEMS = {
    "mixture, scaled linear levels": "discrete",
    "mixture, linear levels": "linear",
    "mixture, flow": "flow",
}
SHAPE = (4, 2, 2)  # of an initial state
FITTED = 32  # initial states, in two batches
FAR = 12.0  # standard deviations beyond which no data lie


def run(calls: Sequence[int], limit: int | None) -> Section:
    plan = Plan(rows=FITTED // 2, batches=2, grids=2, expensive=False, seeds=limited(limit), calls=calls)
    found = []
    for title, schedule in PROBLEMS.items():
        f = Mixture(SCHEDULES[schedule])
        fitting = [start(f, range(first, first + plan.rows)) for first in range(0, FITTED, plan.rows)]
        others = [start(f, range(FITTED, 2 * FITTED))]
        held_out = [start(f, range(2 * FITTED, 2 * FITTED + plan.seeds))]
        known, measured = (make_problem(batches, [end(x, f) for f, x in batches]) for batches in (fitting, held_out))
        found.append(section(title, list(rows(known, others, measured, plan))))
    return join(found)


def start(f: Mixture, items: Sequence[int]) -> Batch:
    """Return the denoiser with initial states (B, *SHAPE), float64, one for each item of noise."""
    like = torch.empty(len(items), *SHAPE, dtype=torch.float64)
    return f, f.schedule.level(f.schedule.start).sigma * Noise(0, tuple(items))(like)


def end(x: Tensor, f: Denoiser) -> Tensor:
    """Return the ends at sigma 0 of the exact flow through states (B, ...) of the noisiest level."""
    top = f.schedule.level(f.schedule.start)
    return torch.tensor([quantile(share(state, top)) for state in x.flatten().tolist()], dtype=x.dtype).reshape(x.shape)


def share(x: float, level: Level) -> float:
    """Return the share of the states at a level that are less than x."""
    return sum(
        weight * float(norm.cdf((x - level.alpha * mean) / sqrt(level.alpha**2 * variance + level.sigma**2)))
        for weight, mean, variance in MODES
    )


def quantile(probability: float) -> float:
    """Return the data point with this share of the data below it."""
    means, deviations = [mean for _, mean, _ in MODES], [sqrt(variance) for _, _, variance in MODES]
    low, high = min(means) - FAR * max(deviations), max(means) + FAR * max(deviations)
    return float(brentq(lambda x: share(x, CLEAN_LEVEL) - probability, low, high, xtol=1e-13))
