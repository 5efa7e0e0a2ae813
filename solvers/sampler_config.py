"""Sampler configurations in plain words: a solver, its options, and the grid_by_name of its steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.spacings import SPACINGS
from fastdiff.solvers.validation import check_name

CLEAN_SUFFIX = "+clean"  # after the name of a spacing: the last step leads to sigma 0
GRID_NAMES = tuple(name + end for name in SPACINGS for end in ("", CLEAN_SUFFIX))


def grid_by_name(name: str) -> Callable[[Schedule, int], Grid]:
    """Return the function from a schedule and a number of steps to a grid.

    The name is one of SPACINGS, with or without CLEAN_SUFFIX. Raises UsageError for another name.
    """
    if name not in GRID_NAMES:
        raise UsageError(
            f"unknown grid {name!r}: one of {', '.join(SPACINGS)}, each perhaps followed by {CLEAN_SUFFIX}"
        )
    spacing = SPACINGS[name.removesuffix(CLEAN_SUFFIX)]
    return lambda schedule, steps: grid(spacing, schedule, steps, name.endswith(CLEAN_SUFFIX))


@dataclass(frozen=True)
class SamplerConfig:
    """A solver by its name in SOLVERS, a grid by its name in GRID_NAMES, and options of the solver."""

    solver: str
    grid: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Solver[Any]:
        """Return the solver. Raises UsageError for an unknown solver or option."""
        check_name("solver", self.solver, SOLVERS)
        try:
            return SOLVERS[self.solver](**self.options)
        except TypeError as error:
            given = ", ".join(f"{name} {value!r}" for name, value in self.options.items())
            raise UsageError(f"{self.solver} with {given or 'no options'}: it does not take that") from error

    def levels(self, schedule: Schedule, nfe: int, nfe_per_step: int = 1) -> Grid:
        """Return the longest grid that fits in `nfe` network evaluations at `nfe_per_step` per step.

        The final step to sigma 0 costs one evaluation; teleported steps (option `skip`) cost none.

        Raises UsageError if no step fits, and for a grid that does not fit the schedule.
        """
        steps = 1 + (nfe - 1) // nfe_per_step if self.grid.endswith(CLEAN_SUFFIX) else nfe // nfe_per_step
        return grid_by_name(self.grid)(schedule, steps + self.options.get("skip", 0))

    def __str__(self) -> str:
        """Return the configuration in words, such as `unipc, order 3, on karras+clean`."""
        named = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"{self.solver}{named}, on {self.grid}"
