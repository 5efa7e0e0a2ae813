"""What ways are tried on: starts of a network with the ends that they should have."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.solvers.ways import Way
from fastdiff.apps.tuning import measure
from fastdiff.apps.tuning.measure import Batch
from fastdiff.solvers.denoiser import CountingDenoiser, DenoiserWrapper, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class Opened(DenoiserWrapper):
    """A denoiser that has answered about one state: nearly all runs from there begin with this call."""

    x: Tensor  # (B, ...)
    level: Level
    answer: Estimate

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        same = x is self.x and abs(level.lam - self.level.lam) < 1e-9
        return self.answer if same else self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return self.inner.at_levels(states, levels)


@dataclass(frozen=True)
class Course:
    """Batches of starts with their ends."""

    batches: Sequence[Batch]
    exact: Sequence[Tensor]

    def errors(self, way: Way, calls: int, batches: int | None = None) -> Tensor | None:
        """Relative distances of the items (K,) of the first batches, or of all, to where they should end.

        None where the way has no run of so many calls, or takes more.
        """
        made = []
        for f, x in self.batches[:batches]:
            counted = CountingDenoiser(f, Tally())
            try:
                made.append(way.end(counted, x, calls))
            except UsageError:
                return None
            if counted.tally.nfe > calls:
                return None
        return measure.errors(made, self.exact[:batches])


@torch.no_grad()
def course(batches: Sequence[Batch], exact: Sequence[Tensor] | None = None) -> Course:
    """By default the ends are those of the reference run."""
    opened: list[Batch] = []
    for f, x in batches:
        level = f.schedule.level(f.schedule.start)
        opened.append((Opened(f, x, level, f(x, level)), x))
    return Course(opened, measure.reference(opened) if exact is None else exact)
