"""Edits by a solver file: the solver that was found for a model, over its own levels, inverts and samples."""

from dataclasses import replace
from pathlib import Path

from fastdiff.apps.edit.presets import Preset
from fastdiff.models import fingerprint
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.integrate import Solver
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.solver_file import read


def planned(preset: Preset, path: Path, steps: int | None) -> Preset:
    """The preset with the file's way of inverting; `steps` default to its fewest calls.

    Raises UsageError for what is no solver file.
    """
    fewest = min(read(path).recipes)
    return replace(preset, inversion="reversed", solver=None, strength=1.0, attempts=1, steps=steps or fewest)


def found(path: Path, model: str, preset: Preset, schedule: Schedule) -> tuple[Solver, Grid]:
    """The solver of the file and its levels.

    Raises UsageError where it was made for another model or guidance, does not have so many steps, or cannot invert.
    """
    solver, levels = read(path).for_model(fingerprint.of_folder(model), preset.guidance).sampler(schedule, preset.steps)
    if levels[-1].sigma == 0:
        raise UsageError(f"{path} goes on to sigma 0, from which no picture is inverted: give a grid without +clean")
    try:
        solver.init(levels[::-1])
    except UsageError as error:
        raise UsageError(f"{path} is fitted to sampling from noise, and an edit inverts its picture first") from error
    return solver, levels
