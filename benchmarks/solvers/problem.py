"""The problem that samplers solve: initial states of a network, with the end that each should reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.solvers.samplers import Sampler
from fastdiff.apps.tuning import measure
from fastdiff.apps.tuning.measure import Batch
from fastdiff.solvers.denoiser import CountingDenoiser, DenoiserWrapper, Tally
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class CachedFirstCall(DenoiserWrapper):
    """A denoiser with a stored estimate for one state: nearly every run from there begins with this evaluation."""

    x: Tensor  # (B, ...)
    level: Level
    estimate: Estimate

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        same = x is self.x and abs(level.lam - self.level.lam) < 1e-9
        return self.estimate if same else self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return self.inner.at_levels(states, levels)


@dataclass(frozen=True)
class Problem:
    """Batches of initial states, and the exact end of each batch."""

    batches: Sequence[Batch]
    exact: Sequence[Tensor]

    def errors(self, sampler: Sampler, nfe: int, batches: int | None = None) -> Tensor | None:
        """Return the relative distance (K,) of every item of the first `batches`, or of all, to its exact end.

        None if the sampler has no run of `nfe` network evaluations, or takes more.
        """
        sampled = []
        for f, x in self.batches[:batches]:
            counted = CountingDenoiser(f, Tally())
            try:
                sampled.append(sampler.sample(counted, x, nfe))
            except UsageError:
                return None
            if counted.tally.nfe > nfe:
                return None
        return measure.errors(sampled, self.exact[:batches])


@torch.no_grad()
def make_problem(batches: Sequence[Batch], exact: Sequence[Tensor] | None = None) -> Problem:
    """Make a problem of batches. `exact` defaults to the ends of the reference runs."""
    cached: list[Batch] = []
    for f, x in batches:
        level = f.schedule.level(f.schedule.start)
        cached.append((CachedFirstCall(f, x, level, f(x, level)), x))
    return Problem(cached, measure.reference(cached) if exact is None else exact)
