"""Ways to run a solver: as it is, with a cache of network blocks, or with SADA."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastdiff.apps.tuning.measure import Batch
from fastdiff.models.acceleration.registry import Cache, cached
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate


@dataclass(frozen=True)
class Outcome:
    """The ends of the items, with what they cost."""

    ends: Sequence[Tensor]  # (B, ...) per batch
    calls: float  # of the network that cost as much, mean of the items
    seconds: float  # of a batch, of the processor
    nbytes: int = 0  # largest size of the cache


class Contestant(Protocol):
    """A way to sample."""

    def run(self, f: Denoiser, x: Tensor) -> tuple[Tensor, float, int]:
        """Return the end (B, ...) of a run from x (B, ...), its cost in calls, and the size of its cache, bytes."""
        ...


@dataclass(frozen=True, eq=False)
class Plain:
    """A solver over a grid, perhaps with SADA around it. Its cost is its calls, for every item."""

    solver: Solver[Any]
    grid: Grid

    def run(self, f: Denoiser, x: Tensor) -> tuple[Tensor, float, int]:
        counted = CountingDenoiser(f)
        return integrate(counted, self.solver, x, self.grid).x, counted.tally.nfe, 0


@dataclass(frozen=True, eq=False)
class Cached:
    """A solver over a grid with a cache in the network."""

    solver: Solver[Any]
    grid: Grid
    network: nn.Module
    cache: Cache

    def run(self, f: Denoiser, x: Tensor) -> tuple[Tensor, float, int]:
        denoiser = cached(self.cache, f, self.network, self.grid, self.solver)
        end = integrate(denoiser, self.solver, x, self.grid).x
        return end, denoiser.cost, denoiser.nbytes


@torch.no_grad()
def measured(contestant: Contestant, batches: Sequence[Batch]) -> Outcome:
    """Run a contestant on all batches."""
    runs, began = [], time.process_time()
    for f, x in batches:
        runs.append(contestant.run(f, x))
    seconds = (time.process_time() - began) / len(batches)
    ends, calls, sizes = zip(*runs, strict=True)
    return Outcome(ends, fmean(calls), seconds, max(sizes))
