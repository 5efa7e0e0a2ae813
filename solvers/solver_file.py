"""Solver files: for one model and some numbers of calls, the recipes that sample it best, with their fitted numbers.

A file is safetensors with a card in its metadata. Anyone may have made it: reading checks everything and runs nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastdiff.solvers.dc_cascade import Cascade
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.recipe import Recipe
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.tuned import TUNED, compensated

FORMAT = 1
LARGEST = 2**29  # bytes of a file that is read at all
MOST_CALLS = 1000
OPTIONS = {
    "base": str,
    "order": int,
    "skip": int,
    "corrector": bool,
    "p_pseudo": bool,
    "c_pseudo": bool,
    "lower_final": bool,
    "published": bool,
}  # of recipes in files, by name
SHARED = "all"  # in place of a number of calls, before the names of tensors that all of them use
CASCADE = "cascade"


@dataclass(frozen=True)
class SolverFile:
    """What a file holds. Tensors are named `CALLS.NAME`, `all.NAME` or `cascade.NAME`."""

    model: str  # as the person who made it named it
    fingerprint: str  # of the network, `fastdiff.models.fingerprint`
    guidance: float
    recipes: Mapping[int, Recipe]  # by number of calls
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any]  # how it was made, and what it measured

    def save(self, path: Path) -> None:
        """Write the file. The same content gives the same bytes."""
        from safetensors.torch import save_file

        told = {
            "format": FORMAT,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "guidance": self.guidance,
            "recipes": {calls: asdict(recipe) for calls, recipe in self.recipes.items()},
            "card": dict(self.card),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        save_file(tensors, path, {"fastdiff": json.dumps(told, sort_keys=True)})

    def for_model(self, fingerprint: str, guidance: float = 1.0) -> "SolverFile":
        """This file. Raises UsageError where it was made for another network or another guidance."""
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"the solver file was made for {self.model} (network {self.fingerprint[:12]}), and this network is "
                f"{fingerprint[:12]}: tune this one"
            )
        if guidance != self.guidance:
            raise UsageError(f"the solver file was made for guidance {self.guidance:g}, and this is {guidance:g}")
        return self

    def sampler(self, schedule: Schedule, calls: int) -> tuple[Solver, Grid]:
        """The solver for so many calls, and the levels that it was fitted to.

        Raises UsageError where the file has no such number, and no regression over it, and for a damaged file.
        """
        known = sorted(self.recipes)
        if calls in self.recipes:
            recipe, make = self.recipes[calls], self._made
        elif self._part(CASCADE) and known[0] < calls < known[-1]:
            recipe, make = self.recipes[known[0]], self._regressed
        else:
            raise UsageError(f"{calls} calls: the solver file has {', '.join(map(str, known))}")
        try:
            solver = make(recipe, calls)
        except (TypeError, KeyError) as error:
            raise UsageError(f"the solver file is damaged: {recipe.solver} with {dict(recipe.options)}") from error
        if solver.stochastic:
            raise UsageError(f"the solver file names {recipe.solver}, which adds noise: only others are taken")
        return solver, recipe.levels(schedule, calls, solver.evals)

    def _made(self, recipe: Recipe, calls: int) -> Solver:
        if recipe.solver not in TUNED:
            return recipe.make()
        return TUNED[recipe.solver].restore(self._part(SHARED) | self._part(str(calls)), **recipe.options)

    def _regressed(self, recipe: Recipe, calls: int) -> Solver:
        cascade = Cascade.from_tensors(self._part(CASCADE))
        return cascade.solver(self.guidance, calls, compensated(**recipe.options))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


def read(path: Path) -> SolverFile:
    """The solver file at `path`. Raises UsageError for anything else, and for a file of a later format."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a solver file of at most {LARGEST // 2**20} MiB")
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["fastdiff"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (version := told["format"]) != FORMAT:
            raise UsageError(f"{path} is a solver file of format {version}: this version reads format {FORMAT}")
        if not told["recipes"]:
            raise ValueError("no recipes")
        return SolverFile(
            str(told["model"]),
            str(told["fingerprint"]),
            float(told["guidance"]),
            {_calls(calls): _recipe(recipe) for calls, recipe in told["recipes"].items()},
            tensors,
            dict(told["card"]),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a solver file: `fastdiff tune` and `fastdiff search` write such") from error


def _calls(text: str) -> int:
    if not 1 <= (calls := int(text)) <= MOST_CALLS:
        raise ValueError(text)
    return calls


def _recipe(told: Mapping[str, Any]) -> Recipe:
    options = dict(told["options"])
    for name, value in options.items():
        if type(value) is not OPTIONS.get(name) or (isinstance(value, int) and not 0 <= value <= MOST_CALLS):
            raise ValueError(name)
    return Recipe(str(told["solver"]), str(told["grid"]), options)
