"""Calibrates a cache of network blocks for the edits of one model, and measures it against fewer steps."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.apps.running import atomic, batch
from fastdiff.apps.tuning.measure import Batch, Meter, ends, errors, seconds_a_row
from fastdiff.apps.tuning.search import FEW
from fastdiff.models.acceleration.budget import FEWEST_STEPS, check_budget
from fastdiff.models.acceleration.cache_file import CacheFile, read_cache_file, runs_of
from fastdiff.models.acceleration.calibration import calibrate, joined
from fastdiff.models.acceleration.preparation import ROUNDS, prepare
from fastdiff.models.acceleration.registry import Cache, cached
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, time_part
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.validation import check_name


@dataclass(frozen=True)
class CacheResult:
    """The runs of held-out samples: their cost, and their distances to plain runs, relative to the norm of these."""

    cost: float  # calls of the network that cost as much, mean of the samples
    fewer: int  # steps of plain runs that cost as much
    distances: tuple[float, ...]  # with the cache
    distances_of_fewer: tuple[float, ...]  # of plain runs of `fewer` steps


@dataclass(frozen=True)
class CacheTuning:
    """A cache by its name in `CACHES`, for runs of `solver` over the grid of edits in `steps` steps.

    `samples` are calibrated on, and as many held-out ones measured. `budget` is the aimed cost, a share of a plain run.

    Raises UsageError for a model whose network caches do not know, and for a solver that adds noise.
    """

    subject: SamplingProblem
    out: Path
    cache: str
    steps: int
    budget: float
    solver: str = "dpmpp-2m"
    samples: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if self.steps < FEWEST_STEPS:
            raise UsageError(f"{self.steps} steps leave a cache nothing to save: give --nfe {FEWEST_STEPS} or more")
        if self.made.stochastic:
            raise UsageError(f"a cache under {self.solver}, which adds noise: give a deterministic solver by --base")

    @property
    def made(self) -> Solver[Any]:
        check_name("solver", self.solver, SOLVERS)
        return SOLVERS[self.solver]()

    @property
    def work(self) -> int:
        """Approximate number of network evaluations times rows."""
        return self.steps * (2 * self.samples + FEW * ROUNDS + 3 * self.samples)

    def seconds(self) -> float:
        """Estimate the duration on this machine. Times one evaluation."""
        return self.work * seconds_a_row(list(self.subject.batches(FEW, self.seed)))

    def levels(self, steps: int) -> Grid:
        """Return the grid of edits in so many steps."""
        return time_part(self.subject.schedule, 1.0, steps)


def check_output(out: Path) -> None:
    """Raise UsageError if `out` exists and is no cache file: it is not replaced."""
    if out.exists():
        read_cache_file(out)


@torch.no_grad()
def run(tuning: CacheTuning, watch: batch.Watch = lambda now: None) -> CacheResult:
    """Calibrate the cache, write its file, and measure it.

    Raises UsageError for a budget that the cache cannot meet and as `check_output` does, OutputError if the file cannot
    be written.
    """
    check_output(tuning.out)
    subject, network, solver, levels = tuning.subject, tuning.subject.network, tuning.made, tuning.levels(tuning.steps)
    meter = Meter(tuning.work, watch, "calibration")
    alone = meter.counted(list(subject.batches(tuning.samples, tuning.seed, rows=1)))
    calibration = joined([calibrate(f, network, solver, levels, x) for f, x in alone])
    f, x = meter.counted(list(subject.batches(FEW, tuning.seed)))[0]
    cache = prepare(tuning.cache, tuning.budget, calibration, f, network, solver, levels, x)
    meter.name = "held-out samples"
    held = meter.counted(list(subject.batches(tuning.samples, tuning.seed, held=True, rows=1)))
    result = _measured(tuning, cache, network, held)
    card = {
        "version": importlib.metadata.version("fastdiff-toolkit"),
        "conditions": subject.description,
        "shape": list(subject.shape),
        "cache": tuning.cache,
        "budget": tuning.budget,
        "samples": tuning.samples,
        "seed": tuning.seed,
        "cost": result.cost,
        "errors": {"cache": _mean(result.distances), f"{result.fewer} steps": _mean(result.distances_of_fewer)},
    }
    runs = runs_of(subject.name, subject.fingerprint, tuning.solver, subject.guidance, levels)
    with atomic.draft(tuning.out) as path:
        CacheFile(cache, runs, calibration.changes, card).save(path)
        atomic.publish(path, tuning.out)
    meter.reach(meter.total)
    return result


def _measured(tuning: CacheTuning, cache: Cache, network: nn.Module, batches: Sequence[Batch]) -> CacheResult:
    solver, levels = tuning.made, tuning.levels(tuning.steps)
    exact = ends(batches, solver, levels)
    made: list[Tensor] = []
    costs: list[float] = []
    for f, x in batches:
        run = cached(cache, f, network, levels, solver)
        made.append(integrate(run, solver, x, levels).x)
        costs.append(run.cost)
    fewer = max(round(_mean(costs)), 1)
    less = errors(ends(batches, solver, tuning.levels(fewer)), exact)
    return CacheResult(_mean(costs), fewer, tuple(errors(made, exact).tolist()), tuple(less.tolist()))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
