"""Edits by a cache file: the solver, the steps and the guidance that a cache of network blocks was made for."""

from dataclasses import replace
from pathlib import Path

from fastdiff.apps.edit.options import MOST_STEPS
from fastdiff.apps.edit.presets import Preset
from fastdiff.models import fingerprint
from fastdiff.models.acceleration.budget import FEWEST_STEPS
from fastdiff.models.acceleration.cache_file import read_cache_file, runs_of
from fastdiff.models.acceleration.registry import Cache
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.validation import check_name


def planned(preset: Preset, path: Path, *, solver: str | None, steps: int | None) -> Preset:
    """Return the preset with the solver and the steps of a cache file. It inverts by this solver, in one attempt.

    Raises UsageError for another file, for a solver or a number of steps that no edit has, and for a `solver`,
    `steps` or guidance that the cache was not made for.
    """
    runs = read_cache_file(path).runs
    count = len(runs.levels) - 1
    check_name("solver", runs.solver, SOLVERS)
    if not FEWEST_STEPS <= count <= MOST_STEPS:
        raise UsageError(
            f"{path.name} was made for {count} steps: edits with a cache have {FEWEST_STEPS} to {MOST_STEPS}"
        )
    for what, wanted, made in (
        ("solver", solver, runs.solver),
        ("steps", steps, count),
        ("guidance", preset.guidance, runs.guidance),
    ):
        if wanted not in (None, made):
            raise UsageError(f"{path.name} was made for --{what} {made}, and this edit has {wanted}")
    return replace(preset, solver=runs.solver, steps=count, strength=1.0, attempts=1)


def found(path: Path, model: str, preset: Preset, grid: Grid) -> Cache:
    """Return the cache of a file for edits by a preset that was `planned`.

    Raises UsageError if it was made for another model or other levels.
    """
    assert preset.solver is not None
    runs = runs_of(model, fingerprint.of_folder(model), preset.solver, preset.guidance, grid)
    return read_cache_file(path).for_runs(runs)
