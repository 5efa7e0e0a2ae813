"""Accelerated runs of many steps that cost as much as plain runs of few."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastdiff.apps.tuning.measure import Batch, errors
from fastdiff.models.acceleration.budget import FEWEST_STEPS
from fastdiff.models.acceleration.calibration import calibrate
from fastdiff.models.acceleration.preparation import ROUNDS, prepare
from fastdiff.models.acceleration.registry import cached
from fastdiff.models.sampling_problem import SamplingProblem
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.sada_budget import sada_for_budget
from fastdiff.solvers.sampler_config import SamplerConfig

BUDGET = 0.5  # share of a plain run of as many steps, at least
CACHE = "first-block"


class AcceleratedRuns(NamedTuple):
    """Runs of held-out samples."""

    name: str  # of the acceleration
    steps: int
    cost: float  # calls of the network that cost as much, mean of the samples
    errors: Tensor  # (K,) distances to the reference, relative to its norm


class AcceleratedResults(NamedTuple):
    """The runs of all accelerations, and why an acceleration has none, by its name."""

    runs: list[AcceleratedRuns]
    left_out: dict[str, str]


class Accelerated(NamedTuple):
    """An accelerated sampler of so many steps."""

    steps: int
    run: Callable[[Batch], tuple[Tensor, float]]  # returns the end of a run, and its cost


def steps_for(nfe: int) -> int:
    """Return the most steps of runs that cost `nfe` calls."""
    return round(nfe / BUDGET)


def work(nfe: int, few: int, samples: int) -> int:
    """Return the approximate number of network evaluations times rows for accelerated runs that cost `nfe` calls."""
    return steps_for(nfe) * (few * (1 + ROUNDS) + samples) + nfe * samples if nfe >= FEWEST_STEPS else 0


@torch.no_grad()
def accelerated(
    subject: SamplingProblem,
    config: SamplerConfig,
    nfe: int,
    chosen_on: Sequence[Batch],
    held_out: Sequence[Batch],
    exact: Sequence[Tensor],
) -> AcceleratedResults:
    """Run SADA and a cache of blocks with the solver and the grid of a configuration, at the cost of `nfe` calls.

    An acceleration that does not know the solver or the network, or cannot meet the cost, is left out. Below
    FEWEST_STEPS calls none is tried.
    """
    found = AcceleratedResults([], {})
    if nfe < FEWEST_STEPS:
        return found
    for name, make in ("sada", _sada), (CACHE, _cache):
        try:
            sampler = make(subject, config, nfe, chosen_on)
            ends, costs = zip(*map(sampler.run, held_out), strict=True)
        except UsageError as error:
            found.left_out[name] = str(error)
            continue
        rows = [len(x) for _, x in held_out]
        cost = sum(each * count for each, count in zip(costs, rows, strict=True)) / sum(rows)
        found.runs.append(AcceleratedRuns(name, sampler.steps, cost, errors(ends, exact)))
    return found


def _sada(subject: SamplingProblem, config: SamplerConfig, nfe: int, _: Sequence[Batch]) -> Accelerated:
    """Return SADA in the most steps whose plan takes at most `nfe` evaluations."""
    steps, levels, skipping = _planned(subject, config, nfe)

    def run(batch: Batch) -> tuple[Tensor, float]:
        f, x = batch
        counted = CountingDenoiser(f)
        return integrate(counted, skipping, x, levels).x, counted.tally.nfe

    return Accelerated(steps, run)


def _planned(subject: SamplingProblem, config: SamplerConfig, nfe: int) -> tuple[int, Grid, Solver[Any]]:
    solver = config.make()
    for steps in range(steps_for(nfe), nfe, -1):
        levels = config.levels(subject.schedule, steps)
        with contextlib.suppress(UsageError):  # of plans that evaluate more often
            return steps, levels, sada_for_budget(solver, levels, nfe / (len(levels) - 1))
    raise UsageError(f"sada in {nfe} calls: no run of more steps takes so few")


def _cache(subject: SamplingProblem, config: SamplerConfig, nfe: int, chosen_on: Sequence[Batch]) -> Accelerated:
    f, x = chosen_on[0]
    network, solver = subject.network, config.make()
    levels = config.levels(subject.schedule, steps_for(nfe))
    calibration = calibrate(f, network, solver, levels, x)
    cache = prepare(CACHE, nfe / (len(levels) - 1), calibration, f, network, solver, levels, x)

    def run(batch: Batch) -> tuple[Tensor, float]:
        f, x = batch
        caching = cached(cache, f, network, levels, solver)
        return integrate(caching, solver, x, levels).x, caching.cost

    return Accelerated(steps_for(nfe), run)
