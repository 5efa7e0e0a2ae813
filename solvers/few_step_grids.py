"""Grids of five, six and eight steps whose last level keeps much of its noise (Li 2025, arXiv 2510.02390).

For Stable Diffusion and similar models: equal strides of a root of the timestep, from the noisiest trained level down
to a level of a Karras grid. The final state is decoded without a step to sigma 0. The authors use DDIM with five and
six steps, and DPM-Solver++(2M) without lower_final with eight. Levels between trained ones follow the authors' code.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, karras
from fastdiff.solvers.schedule import DiscreteVP, Level, Schedule, from_edm_sigma

RHO = 1.2  # root of the timestep whose strides are equal


class End(NamedTuple):
    """The last level: a node of a Karras grid."""

    nodes: int  # of the grid
    rho: float
    node: int


ENDS = {5: End(8, 5.0, 6), 6: End(8, 5.0, 6), 8: End(12, 7.0, 9)}  # by the number of steps


def few_step(schedule: Schedule, count: int) -> Grid:
    """Return `count` levels: 6, 7 or 9. Raises UsageError for another count, and for a schedule without timesteps."""
    if not isinstance(schedule, DiscreteVP):
        raise UsageError(f"few-step timesteps on {type(schedule).__name__}: only a DiscreteVP schedule has them")
    if count - 1 not in ENDS:
        raise UsageError(f"a few-step grid of {count - 1} steps: give {', '.join(map(str, ENDS))}")
    end = ENDS[count - 1]
    first = schedule.timestep(schedule.level(schedule.start))
    last = _timestep(schedule, karras(schedule, end.nodes, end.rho)[end.node])
    roots = np.linspace(first ** (1 / RHO), last ** (1 / RHO), count)
    return tuple(_level(schedule, float(root**RHO)) for root in roots)


def _timestep(schedule: DiscreteVP, level: Level) -> float:
    """Linear in log(sigma / alpha) between the trained levels."""
    timesteps = range(len(schedule.alphas_cumprod))
    return float(np.interp(-level.lam, [-schedule.at_timestep(timestep).lam for timestep in timesteps], timesteps))


def _level(schedule: DiscreteVP, timestep: float) -> Level:
    """Linear in alpha squared between the trained levels."""
    squared = float(np.interp(timestep, range(len(schedule.alphas_cumprod)), schedule.alphas_cumprod))
    return from_edm_sigma(schedule, sqrt((1 - squared) / squared))
