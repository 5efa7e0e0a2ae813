"""The noise levels of an edit."""

from fastdiff.apps.edit.presets import Preset
from fastdiff.solvers.grids import Grid, time_part
from fastdiff.solvers.lcm import consistency_points
from fastdiff.solvers.schedule import Schedule


def levels(preset: Preset, schedule: Schedule) -> Grid:
    """Return the preset's number of steps, from its strength down to the cleanest trained level.

    They are equal in time, or those of an LCM. Raises UsageError for a schedule without those.
    """
    if preset.distilled == "lcm":
        return (*consistency_points(schedule, preset.steps, preset.strength), schedule.level(schedule.end))
    return time_part(schedule, preset.strength, preset.steps)
