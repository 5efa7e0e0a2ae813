"""Tuned solvers, fitted and read back as `fastdiff tune` writes them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastdiff.apps.tuning.tune import Tuning, run as tune
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.solver_file import read_solver_file


class Fitted(NamedTuple):
    """A tuned solver with the grid that `tune` chose."""

    solver: Solver[Any]
    levels: Grid
    grid: str  # its name


def fitted(problem: SamplingProblem, name: str, calls: Sequence[int]) -> dict[int, Fitted]:
    """Fit the tuned solver `name` to samples of a problem, and return it by number of calls."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        tune(Tuning(problem, name, tuple(calls), path))
        file = read_solver_file(path)
        return {each: Fitted(*file.sampler(problem.schedule, each), file.configs[each].grid) for each in calls}
