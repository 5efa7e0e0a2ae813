"""The search for where steps lie, which solver takes them and of which order, for one model and some numbers of calls.

Where the steps lie decides first: all grids are tried by a few solvers on few samples, then all solvers on the best
grids, and the best of those on samples that took no part in it, which rank them.
"""

import contextlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.apps import atomic, batch
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers import solver_file
from fastdiff.solvers.denoiser import Counted, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integrate import Solver, integrate
from fastdiff.solvers.recipe import PLACEMENTS, Recipe
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.solver_file import SolverFile
from fastdiff.training.tuning.measure import REFERENCE, Batch, Meter, errors, reference, reference_recipe, seconds_a_row

PROBES: tuple[tuple[str, dict[str, int]], ...] = (("dpmpp-2m", {}), ("unipc", {"order": 2}))  # that try all grids
ORDERS = (1, 2, 3)
FEW = 4  # samples that grids and solvers are chosen on
GRIDS, FINALISTS = 2, 6  # that go on
ROUNDING = 1e-9  # of times
EVEN = 2.0  # standard errors of the difference within which two recipes are told to be even


@dataclass(frozen=True)
class Ranked:
    """A recipe with the distances of held-out samples to the reference, (K,), relative to its length."""

    recipe: Recipe
    calls: int
    errors: Tensor

    @property
    def mean(self) -> float:
        return self.errors.mean().item()

    def even(self, best: "Ranked") -> bool:
        """Whether the difference to the best one, paired by sample, is within its noise."""
        gap = self.errors - best.errors
        return bool(gap.mean() <= EVEN * gap.std() / len(gap) ** 0.5)


@dataclass(frozen=True)
class Search:
    """What is searched: `samples` held out rank what FEW others chose."""

    subject: SamplingProblem
    calls: tuple[int, ...]
    samples: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"{self.samples} held-out samples: 2 or more tell a difference from noise")

    @property
    def work(self) -> int:
        """Calls of the network times rows, about."""
        placed, solvers = len(grids(self.subject.schedule)), len(recipes("log-snr"))
        runs = (placed * len(PROBES) + GRIDS * solvers) * FEW + FINALISTS * self.samples
        return REFERENCE * (FEW + self.samples) + runs * sum(self.calls)

    def seconds(self) -> float:
        """What that takes here, about: one call is timed."""
        return self.work * seconds_a_row(list(self.subject.batches(FEW, self.seed)))

    def run(self, watch: batch.Watch = lambda now: None) -> dict[int, list[Ranked]]:
        """The finalists of every number of calls, the best one first. Raises UsageError where nothing fits."""
        meter = Meter(self.work, watch, "reference")
        chosen_on, held_out = (
            meter.counted(list(self.subject.batches(count, self.seed, held=held)))
            for count, held in ((FEW, False), (self.samples, True))
        )
        exact, exact_held = reference(chosen_on), reference(held_out)
        ranking = {}
        for calls in self.calls:
            meter.name = f"{calls} calls"
            probes = [
                Recipe(solver, name, options) for name in grids(self.subject.schedule) for solver, options in PROBES
            ]
            best = list(dict.fromkeys(each.recipe.grid for each in _tried(probes, calls, chosen_on, exact)))[:GRIDS]
            entrants = [recipe for name in best for recipe in recipes(name)]
            finalists = [each.recipe for each in _tried(entrants, calls, chosen_on, exact)[:FINALISTS]]
            ranking[calls] = _tried(finalists, calls, held_out, exact_held)
            if not ranking[calls]:
                raise UsageError(f"no solver samples {self.subject.name} in {calls} calls: give more")
        meter.reach(meter.total)
        return ranking


def write(search: Search, ranking: Mapping[int, Sequence[Ranked]], out: Path) -> None:
    """Write the best recipe of every number of calls as a solver file.

    Raises UsageError where `out` is there and no solver file, OutputError where it cannot be written.
    """
    if out.exists():
        solver_file.read(out)
    subject = search.subject
    card = {
        "version": importlib.metadata.version("fastdiff-toolkit"),
        "conditions": subject.description,
        "shape": list(subject.shape),
        "held_out": search.samples,
        "seed": search.seed,
        "reference": f"{REFERENCE} calls of {reference_recipe(subject.schedule)}",
        "errors": {str(calls): {"best": ranked[0].mean} for calls, ranked in ranking.items()},
    }
    best = {calls: ranked[0].recipe for calls, ranked in ranking.items()}
    file = SolverFile(subject.name, subject.fingerprint, subject.guidance, best, {}, card)
    with atomic.draft(out) as path:
        file.save(path)
        atomic.publish(path, out)


def recipes(grid: str) -> list[Recipe]:
    """Every deterministic solver of the registry on this grid, in every order that it takes, each once."""
    made: list[tuple[Solver, Recipe]] = []
    for name, factory in SOLVERS.items():
        ordered = "order" in inspect.signature(factory).parameters
        for options in [{"order": order} for order in ORDERS] if ordered else [{}]:
            recipe = Recipe(name, grid, options)
            with contextlib.suppress(UsageError):  # of orders that the solver does not have
                solver = recipe.make()
                if not solver.stochastic and all(solver != other for other, _ in made):
                    made.append((solver, recipe))
    return [recipe for _, recipe in made]


def grids(schedule: Schedule) -> list[str]:
    """The names of all grids that begin where the schedule does, each once."""
    different: dict[tuple[tuple[float, float], ...], str] = {}
    for name in PLACEMENTS:
        try:
            levels = Recipe("ddim", name).levels(schedule, 8)
        except UsageError:
            continue
        if abs(levels[0].t - schedule.start) <= ROUNDING:
            different.setdefault(tuple((round(level.alpha, 9), round(level.sigma, 9)) for level in levels), name)
    return list(different.values())


def _tried(tried: Sequence[Recipe], calls: int, batches: Sequence[Batch], exact: Sequence[Tensor]) -> list[Ranked]:
    """Those that run within so many calls, the best one first."""
    runs = [run for recipe in tried if (run := _run(recipe, calls, batches, exact)) is not None]
    return sorted(runs, key=lambda run: run.mean)


@torch.no_grad()
def _run(recipe: Recipe, calls: int, batches: Sequence[Batch], exact: Sequence[Tensor]) -> Ranked | None:
    """None where the calls pay for no step, the grid does not fit, or the result is no number."""
    made = []
    try:
        solver = recipe.make()
        levels = recipe.levels(batches[0][0].schedule, calls, solver.evals)
        for f, x in batches:
            counted = Counted(f, Tally())
            made.append(integrate(counted, solver, x, levels).x)
            if counted.tally.calls > calls:
                return None
    except UsageError:
        return None
    ranked = Ranked(recipe, calls, errors(made, exact))
    return ranked if ranked.errors.isfinite().all() else None
