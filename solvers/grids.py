"""Time grids: the noise levels that a run visits.

A grid is a tuple of levels, noisiest first; reversed, it is a grid for inversion. A spacing places `count` levels from
`schedule.start` to `schedule.end`, both included unless documented otherwise. Times are never rounded to trained
timesteps.
"""

from collections.abc import Callable

import numpy as np

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import CLEAN_LEVEL, DiscreteVP, Level, Schedule, from_edm_sigma

Grid = tuple[Level, ...]
Spacing = Callable[[Schedule, int], Grid]
NOISIEST = 0.999  # share of the time of pure noise
ROUNDING = 1e-6  # in lam, of a level that was computed again


def grid(spacing: Spacing, schedule: Schedule, steps: int, clean: bool = False) -> Grid:
    """Return the grid of `steps` steps, so steps + 1 levels. With `clean` the last step leads to sigma 0.

    Raises UsageError for fewer than one step, and for a spacing that does not fit the schedule.
    """
    if steps < 1:
        raise UsageError(f"{steps} steps: give one or more")
    return (*spacing(schedule, steps), CLEAN_LEVEL) if clean else spacing(schedule, steps + 1)


def step_at(grid: Grid, level: Level) -> int:
    """Return the index of the step of a run over this grid that evaluates its network at this noise level.

    This is the last step that starts at the level or before the run reaches it; levels beyond the ends belong to the
    end steps.
    """
    if grid[0].lam <= grid[-1].lam:
        begun = sum(start.lam <= level.lam + ROUNDING for start in grid[:-1])
    else:
        begun = sum(start.lam >= level.lam - ROUNDING for start in grid[:-1])
    return max(begun - 1, 0)


def time_uniform(schedule: Schedule, count: int) -> Grid:
    """Equal strides of time."""
    return tuple(schedule.level(t) for t in _linspace(schedule.start, schedule.end, count))


def time_to_clean(schedule: Schedule, count: int) -> Grid:
    """Equal strides of time from the start. The last level lies one stride above time 0, which ends flows."""
    return tuple(schedule.level(schedule.start * (1 - i / count)) for i in range(count))


def time_part(schedule: Schedule, strength: float, steps: int) -> Grid:
    """`steps` equal strides of time to the schedule's end, from the fraction `strength` (0 to 1) of its range.

    Where the start has no signal, the range begins at NOISIEST of it, so that inversions keep some.
    """
    start = schedule.start if schedule.level(schedule.start).alpha else NOISIEST * schedule.start
    top = schedule.end + strength * (start - schedule.end)
    return tuple(schedule.level(t) for t in _linspace(top, schedule.end, steps + 1))


def time_quadratic(schedule: Schedule, count: int) -> Grid:
    """Equal strides of the square root of time: denser towards the clean end."""
    return tuple(schedule.level(r * r) for r in _linspace(schedule.start**0.5, schedule.end**0.5, count))


def log_snr(schedule: Schedule, count: int) -> Grid:
    """Equal strides of lam (Lu et al. 2022, arXiv 2206.00927): a geometric series of sigma / alpha."""
    top, bottom = _noisy_ends(schedule)
    return tuple(schedule.at(lam) for lam in _linspace(top.lam, bottom.lam, count))


def karras(schedule: Schedule, count: int, rho: float = 7.0) -> Grid:
    """Equal strides of (sigma / alpha)^(1 / rho) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    top, bottom = _noisy_ends(schedule)
    roots = _linspace(top.edm_sigma ** (1 / rho), bottom.edm_sigma ** (1 / rho), count)
    return tuple(from_edm_sigma(schedule, root**rho) for root in roots)


def beta(schedule: Schedule, count: int, a: float = 0.6, b: float = 0.6) -> Grid:
    """sigma / alpha at equal quantiles of a beta distribution, dense at both ends (Lee et al. 2024, 2407.12173).

    Needs scipy.
    """
    from scipy.stats import beta as distribution

    top, bottom = _noisy_ends(schedule)
    shares = distribution.ppf(np.linspace(1, 0, count), a, b)
    return tuple(
        from_edm_sigma(schedule, bottom.edm_sigma + float(s) * (top.edm_sigma - bottom.edm_sigma)) for s in shares
    )


def trailing(schedule: Schedule, count: int) -> Grid:
    """Equal strides of the timestep from the noisiest trained level. The last level lies one stride above no noise."""
    table = _trained(schedule)
    top = table.timestep(table.level(table.start))
    return tuple(table.at_timestep(top - i * (top + 1) / count) for i in range(count))


def leading(schedule: Schedule, count: int, offset: float = 0.0) -> Grid:
    """Equal strides of the timestep upwards from `offset`. Excludes the noisiest trained level."""
    table = _trained(schedule)
    stride = (table.timestep(table.level(table.start)) + 1) / count
    return tuple(table.at_timestep(i * stride + offset) for i in reversed(range(count)))


def linspace(schedule: Schedule, count: int) -> Grid:
    """Equal strides of the timestep from the noisiest trained level to the cleanest."""
    return time_uniform(_trained(schedule), count)


def _linspace(first: float, last: float, count: int) -> list[float]:
    return [float(value) for value in np.linspace(first, last, count)]


def _noisy_ends(schedule: Schedule) -> tuple[Level, Level]:
    top, bottom = schedule.level(schedule.start), schedule.level(schedule.end)
    if top.alpha == 0 or bottom.sigma == 0:
        raise UsageError(
            f"a grid in sigma / alpha from t = {schedule.start} to {schedule.end}: both ends need signal and noise"
        )
    return top, bottom


def _trained(schedule: Schedule) -> DiscreteVP:
    if not isinstance(schedule, DiscreteVP):
        raise UsageError(f"trained time steps on {type(schedule).__name__}: only a DiscreteVP schedule has them")
    return schedule
