"""Search for the grid, solver and order that sample one model best in few network evaluations.

The grid matters most: a few solvers try all grids on few samples, then all solvers run on the best grids. Samples that
took no part in this rank the finalists.
"""

import contextlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastdiff.apps.running import atomic, batch
from fastdiff.apps.tuning.accelerated import AcceleratedRuns, accelerated, work
from fastdiff.apps.tuning.measure import REFERENCE, Batch, Meter, errors, reference, reference_config, seconds_a_row
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers import solver_file
from fastdiff.solvers.denoiser import CountingDenoiser, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sampler_config import GRID_NAMES, SamplerConfig
from fastdiff.solvers.schedule import Schedule
from fastdiff.solvers.solver_file import SolverFile

PROBES: tuple[tuple[str, dict[str, int]], ...] = (("dpmpp-2m", {}), ("unipc", {"order": 2}))  # try all grids
ORDERS = (1, 2, 3)
FEW = 4  # samples that choose grids and solvers
GRIDS, FINALISTS = 2, 6  # kept for the next round
ROUNDING = 1e-9  # of times
EVEN = 2.0  # standard errors up to which a difference is not significant


@dataclass(frozen=True)
class Ranked:
    """A configuration with the errors of held-out samples, (K,): distances to the reference, relative to its norm."""

    config: SamplerConfig
    nfe: int
    errors: Tensor
    acceleration: AcceleratedRuns | None = None  # None: a plain run of `nfe` calls

    @property
    def mean(self) -> float:
        return self.errors.mean().item()

    def even(self, best: "Ranked") -> bool:
        """True if the difference to the best one, paired by sample, is not significant."""
        gap = self.errors - best.errors
        return bool(gap.mean() <= EVEN * gap.std() / len(gap) ** 0.5)


class Ranking(NamedTuple):
    """The finalists of one number of evaluations, best first, and by name why an acceleration is not among them."""

    finalists: list[Ranked]
    left_out: Mapping[str, str]

    @property
    def best_plain(self) -> Ranked:
        """The best run without acceleration."""
        return next(each for each in self.finalists if each.acceleration is None)


@dataclass(frozen=True)
class Search:
    """A search for one model. FEW samples choose the finalists; `samples` held-out samples rank them.

    Raises UsageError for fewer than two held-out samples.
    """

    subject: SamplingProblem
    nfe: tuple[int, ...]
    samples: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"{self.samples} held-out samples: 2 or more tell a difference from noise")

    @property
    def work(self) -> int:
        """Approximate number of network evaluations times rows."""
        placed, solvers = len(grids(self.subject.schedule)), len(candidate_configs("log-snr"))
        runs = (placed * len(PROBES) + GRIDS * solvers) * FEW + FINALISTS * self.samples
        more = sum(work(nfe, FEW, self.samples) for nfe in self.nfe)
        return REFERENCE * (FEW + self.samples) + runs * sum(self.nfe) + more

    def seconds(self) -> float:
        """Estimate the duration on this machine. Times one evaluation."""
        return self.work * seconds_a_row(list(self.subject.batches(FEW, self.seed)))

    def run(self, watch: batch.Watch = lambda now: None) -> dict[int, Ranking]:
        """Return the ranking for every number of evaluations. Raises UsageError if nothing fits.

        Accelerated runs of more steps, with the solver and grid of the best plain run, are among them.
        """
        meter = Meter(self.work, watch, "reference")
        chosen_on, held_out = (
            meter.counted(list(self.subject.batches(count, self.seed, held=held)))
            for count, held in ((FEW, False), (self.samples, True))
        )
        exact, exact_held = reference(chosen_on), reference(held_out)
        ranking = {}
        for nfe in self.nfe:
            meter.name = f"{nfe} calls"
            probes = [
                SamplerConfig(solver, name, options)
                for name in grids(self.subject.schedule)
                for solver, options in PROBES
            ]
            names = list(dict.fromkeys(each.config.grid for each in ranked(probes, nfe, chosen_on, exact)))[:GRIDS]
            entrants = [config for name in names for config in candidate_configs(name)]
            chosen = [each.config for each in ranked(entrants, nfe, chosen_on, exact)[:FINALISTS]]
            plain = ranked(chosen, nfe, held_out, exact_held)
            if not plain:
                raise UsageError(f"no solver samples {self.subject.name} in {nfe} calls: give more")
            best = plain[0].config
            others = accelerated(self.subject, best, nfe, chosen_on, held_out, exact_held)
            finalists = [*plain, *(Ranked(best, nfe, runs.errors, runs) for runs in others.runs)]
            ranking[nfe] = Ranking(sorted(finalists, key=lambda each: each.mean), others.left_out)
        meter.reach(meter.total)
        return ranking


def check_output(out: Path) -> None:
    """Raise UsageError if `out` exists and is no solver file: it is not replaced."""
    if out.exists():
        solver_file.read_solver_file(out)


def write(search: Search, ranking: Mapping[int, Ranking], out: Path) -> None:
    """Write the best plain configuration of every number of evaluations as a solver file.

    Raises UsageError as `check_output` does, OutputError if `out` cannot be written.
    """
    check_output(out)
    subject = search.subject
    best = {nfe: each.best_plain for nfe, each in ranking.items()}
    card = {
        "version": importlib.metadata.version("fastdiff-toolkit"),
        "conditions": subject.description,
        "shape": list(subject.shape),
        "held_out": search.samples,
        "seed": search.seed,
        "reference": f"{REFERENCE} calls of {reference_config(subject.schedule)}",
        "errors": {str(nfe): {"best": each.mean} for nfe, each in best.items()},
    }
    configs = {nfe: each.config for nfe, each in best.items()}
    file = SolverFile(subject.name, subject.fingerprint, subject.guidance, configs, {}, card)
    with atomic.draft(out) as path:
        file.save(path)
        atomic.publish(path, out)


def candidate_configs(grid: str) -> list[SamplerConfig]:
    """Return every deterministic solver of the registry on this grid, in each of its orders, without duplicates."""
    made: list[tuple[Solver[Any], SamplerConfig]] = []
    for name, factory in SOLVERS.items():
        ordered = "order" in inspect.signature(factory).parameters
        for options in [{"order": order} for order in ORDERS] if ordered else [{}]:
            config = SamplerConfig(name, grid, options)
            with contextlib.suppress(UsageError):  # of orders that the solver does not have
                solver = config.make()
                if not solver.stochastic and all(solver != other for other, _ in made):
                    made.append((solver, config))
    return [config for _, config in made]


def grids(schedule: Schedule) -> list[str]:
    """Return the names of all grids that start where the schedule does, without duplicates."""
    different: dict[tuple[tuple[float, float], ...], str] = {}
    for name in GRID_NAMES:
        try:
            levels = SamplerConfig("ddim", name).levels(schedule, 8)
        except UsageError:
            continue
        if abs(levels[0].t - schedule.start) <= ROUNDING:
            different.setdefault(tuple((round(level.alpha, 9), round(level.sigma, 9)) for level in levels), name)
    return list(different.values())


def ranked(
    configs: Sequence[SamplerConfig], nfe: int, batches: Sequence[Batch], exact: Sequence[Tensor]
) -> list[Ranked]:
    """Return the configurations that run within `nfe` evaluations, best first.

    `exact` are the ends (B, ...) of the batches that errors are distances to. Those whose grid does not fit and those
    without finite results are left out.
    """
    runs = [run for config in configs if (run := _run(config, nfe, batches, exact)) is not None]
    return sorted(runs, key=lambda run: run.mean)


@torch.no_grad()
def _run(config: SamplerConfig, nfe: int, batches: Sequence[Batch], exact: Sequence[Tensor]) -> Ranked | None:
    """Return None if `nfe` allows no step, the grid does not fit, or the result is not finite."""
    made = []
    try:
        solver = config.make()
        levels = config.levels(batches[0][0].schedule, nfe, solver.nfe_per_step)
        for f, x in batches:
            counted = CountingDenoiser(f, Tally())
            made.append(integrate(counted, solver, x, levels).x)
            if counted.tally.nfe > nfe:
                return None
    except UsageError:
        return None
    run = Ranked(config, nfe, errors(made, exact))
    return run if run.errors.isfinite().all() else None
