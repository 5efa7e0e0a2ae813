"""How far a few calls of a network land from many: distances to a reference run, an item at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastdiff.apps import batch
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser, Tally
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.sampler_config import CLEAN_SUFFIX, SamplerConfig
from fastdiff.solvers.schedule import Schedule

Batch = tuple[Denoiser, Tensor]  # with its conditions bound; states (B, ...) at the noisiest level
REFERENCE = 200  # calls


def reference_config(schedule: Schedule) -> SamplerConfig:
    """UniPC of order 3 in equal strides of lam, or of time where the schedule starts without signal."""
    spacing = "log-snr" if schedule.level(schedule.start).alpha > 0 else "time-uniform"
    return SamplerConfig("unipc", spacing + CLEAN_SUFFIX, {"order": 3})


def reference_grid(schedule: Schedule) -> Grid:
    """The levels of the reference run."""
    return reference_config(schedule).levels(schedule, REFERENCE)


def reference(batches: Sequence[Batch]) -> list[Tensor]:
    """The ends (B, ...), at sigma 0, of the reference runs of the batches."""
    schedule = batches[0][0].schedule
    return ends(batches, reference_config(schedule).make(), reference_grid(schedule))


@torch.no_grad()
def ends(batches: Sequence[Batch], solver: Solver, levels: Grid) -> list[Tensor]:
    """The end (B, ...) of every batch's run."""
    return [integrate(f, solver, x, levels).x for f, x in batches]


def errors(made: Sequence[Tensor], exact: Sequence[Tensor]) -> Tensor:
    """Distance of every item relative to the length of the reference, (K,) float64: inf where a run has no result."""
    pairs = zip(made, exact, strict=True)
    shares = [(a - b).flatten(1).double().norm(dim=1) / b.flatten(1).double().norm(dim=1) for a, b in pairs]
    return torch.cat(shares).nan_to_num(torch.inf).cpu()


@dataclass
class Meter:
    """How much of a run is done, in calls of the network times their rows; a watcher is told after each."""

    total: float
    watch: batch.Watch = lambda now: None
    name: str = ""
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def counted(self, batches: Sequence[Batch]) -> list[Batch]:
        """The same batches, whose denoisers tell of every call."""
        return [(CountingDenoiser(f, Tally(watch=self._after(len(x)))), x) for f, x in batches]

    def _after(self, rows: int) -> Callable[[int], None]:
        def add(calls: int) -> None:
            self.reach(self.done + rows)

        return add

    def reach(self, done: float) -> None:
        """So much is done; the total is never less."""
        self.done, self.total = done, max(self.total, done)
        self.watch(batch.Progress(self.done, round(self.total), time.monotonic() - self.began, self.name))


@torch.no_grad()
def seconds_a_row(batches: Sequence[Batch]) -> float:
    """What one row of a call takes here."""
    f, x = batches[0]
    level = f.schedule.level((f.schedule.start + f.schedule.end) / 2)
    f(x, level)
    began = time.perf_counter()
    f(x, level)
    return (time.perf_counter() - began) / len(x)
