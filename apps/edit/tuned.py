"""Edits by a solver file: the solver that was found for a model, over its own levels, inverts and samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fastdiff.apps.edit.presets import Preset
from fastdiff.models import fingerprint
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.solver_file import read_solver_file


def planned(preset: Preset, path: Path, steps: int | None) -> Preset:
    """The preset with the file's way of inverting; `steps` default to its fewest calls.

    Raises UsageError for what is no solver file, or was made for other steps or another guidance.
    """
    file = read_solver_file(path)
    file.for_model(file.fingerprint, preset.guidance)
    calls = steps or min(file.configs)
    if calls not in file.configs:
        raise UsageError(f"{calls} steps: the solver file has {', '.join(map(str, sorted(file.configs)))}")
    return replace(preset, inversion="reversed", solver=None, strength=1.0, attempts=1, steps=calls)


class TunedSampler(NamedTuple):
    """The solver of a file, its levels down to the cleanest that the network knows, and the solver that inverts."""

    solver: Solver[Any]
    grid: Grid
    inverting: Solver[Any]


def found(path: Path, model: str, preset: Preset, schedule: Schedule, *, preview: bool) -> TunedSampler:
    """Read the solver of the file. A picture lies at the cleanest level that the network knows.

    A solver that was fitted to sampling alone makes previews, from DDIM's inversion over the same levels.

    Raises UsageError where it was made for another model or guidance, does not have so many steps, or cannot invert.
    """
    solver, levels = (
        read_solver_file(path).for_model(fingerprint.of_folder(model), preset.guidance).sampler(schedule, preset.steps)
    )
    known = tuple(level for level in levels if level.sigma > 0)
    try:
        solver.init(known[::-1])
    except UsageError as error:
        if not preview:
            raise UsageError(f"{path.name} cannot serve an edit, which inverts its picture first: {error}") from error
        solver.init(known)
        return TunedSampler(solver, known, DDIM())
    return TunedSampler(solver, known, solver)
