"""Sampling error of few network evaluations: the distance of each item to a reference run of many."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps.running import batch
from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.sampler_config import CLEAN_SUFFIX, SamplerConfig
from fastdiff.solvers.schedule import Level, Schedule

Batch = tuple[Denoiser, Tensor]  # denoiser with its conditioning bound, states (B, ...) at the noisiest level
REFERENCE = 200  # network evaluations


def reference_config(schedule: Schedule) -> SamplerConfig:
    """Return UniPC of order 3 in equal strides of lam, or of time if the schedule starts without signal."""
    spacing = "log-snr" if schedule.level(schedule.start).alpha > 0 else "time-uniform"
    return SamplerConfig("unipc", spacing + CLEAN_SUFFIX, {"order": 3})


def reference_grid(schedule: Schedule) -> Grid:
    """Return the levels of the reference run."""
    return reference_config(schedule).levels(schedule, REFERENCE)


def reference(batches: Sequence[Batch]) -> list[Tensor]:
    """Return the ends (B, ...), at sigma 0, of the reference runs of the batches."""
    schedule = batches[0][0].schedule
    return ends(batches, reference_config(schedule).make(), reference_grid(schedule))


@torch.no_grad()
def ends(batches: Sequence[Batch], solver: Solver[Any], levels: Grid) -> list[Tensor]:
    """Return the end (B, ...) of the run of every batch."""
    return [integrate(f, solver, x, levels).x for f, x in batches]


def errors(made: Sequence[Tensor], exact: Sequence[Tensor]) -> Tensor:
    """Return the distance of every item relative to the norm of the reference, (K,) float64; inf without result."""
    pairs = zip(made, exact, strict=True)
    shares = [(a - b).flatten(1).double().norm(dim=1) / b.flatten(1).double().norm(dim=1) for a, b in pairs]
    return torch.cat(shares).nan_to_num(torch.inf).cpu()


@dataclass
class Meter:
    """Progress of a run, in network evaluations times rows. Calls `watch` after each."""

    total: float
    watch: batch.Watch = lambda now: None
    name: str = ""
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def counted(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches with denoisers that report every evaluation."""
        return [(MeteredDenoiser(f, self), x) for f, x in batches]

    def reach(self, done: float) -> None:
        """Report that `done` is done. The total never falls below it."""
        self.done, self.total = done, max(self.total, done)
        self.watch(batch.Progress(self.done, round(self.total), time.monotonic() - self.began, self.name))


@dataclass(frozen=True, eq=False)
class MeteredDenoiser(DenoiserWrapper):
    """Reports the rows of every evaluation to a meter."""

    meter: Meter

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        self.meter.reach(self.meter.done + len(x))
        return estimate


@torch.no_grad()
def seconds_a_row(batches: Sequence[Batch]) -> float:
    """Measure the seconds that one row of an evaluation takes on this machine."""
    f, x = batches[0]
    level = f.schedule.level((f.schedule.start + f.schedule.end) / 2)
    f(x, level)
    began = time.perf_counter()
    f(x, level)
    return (time.perf_counter() - began) / len(x)
