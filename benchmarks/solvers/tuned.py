"""Tuned solvers, fitted as `fastdiff tune` fits them, on the grids where untuned solvers do best."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.solvers.participants import Participant, mean_error
from benchmarks.solvers.problem import Problem
from benchmarks.solvers.samplers import TunedSampler
from fastdiff.apps.tuning.fits import FITS, Extent, finest, scouted
from fastdiff.apps.tuning.measure import Batch
from fastdiff.apps.tuning.search import grids
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED
from fastdiff.solvers.tuning.teacher import Teacher

Teachers = Callable[[Grid], Teacher]  # fits on one grid share the runs of its teacher
NAMES = ("v3", "dc", "dode", "iia", "teleport", "teleport-iia")


@dataclass(frozen=True)
class Tuner:
    """Fits tuned solvers to a problem.

    `shared` holds, by solver, the tensors that serve all numbers of network evaluations.
    """

    fitting: Problem
    shared: Mapping[str, Mapping[str, Tensor]]

    def participants(self, nfe: int, grids: Sequence[str]) -> list[Participant]:
        """Return every tuned solver with the grid, out of `grids`, and the options that have the least fit error."""
        teachers = cache(lambda levels: cached(finest(levels)))
        teleport = [SamplerConfig("teleport", *self._scouted(nfe))]
        chosen = []
        for name in NAMES:
            options = FITS[name].variants(nfe, TUNED[name].options)
            crossed = [SamplerConfig(name, *each) for each in product(grids, options)]
            tried = self._fitted(name, nfe, teleport if FITS[name].scouted else crossed, teachers)
            chosen += sorted(tried, key=lambda each: each.fit_error)[:1]
        return chosen

    def _fitted(
        self, name: str, nfe: int, configs: Sequence[SamplerConfig], teachers: Teachers
    ) -> Iterator[Participant]:
        """Yield the fits of configurations whose grid has runs of `nfe` evaluations."""
        once, schedule = self.shared[name], self.fitting.batches[0][0].schedule
        for config in configs:
            try:
                levels = config.levels(schedule, nfe)
                fitted = FITS[name].each(self.fitting.batches, levels, config.options, once, teachers(levels))
            except UsageError:
                continue
            sampler = TunedSampler(SamplerConfig(name, config.grid, config.options), {**once, **fitted})
            if (errors := self.fitting.errors(sampler, nfe)) is not None:
                yield Participant(name, sampler, errors.mean().item())

    def _scouted(self, nfe: int) -> tuple[str, Mapping[str, Any]]:
        def error(config: SamplerConfig) -> float:
            return mean_error(self.fitting, TunedSampler(config, self.shared["teleport"]), nfe)

        return scouted(grids(self.fitting.batches[0][0].schedule), nfe, TUNED["teleport"].options, error)


def cached(teacher: Teacher) -> Teacher:
    """Return a teacher that runs `teacher` once for each initial state."""
    known: list[tuple[Tensor, Sequence[Tensor]]] = []

    def states(f: Denoiser, x: Tensor) -> Sequence[Tensor]:
        for start, visited in known:
            if start is x:
                return visited
        known.append((x, teacher(f, x)))
        return known[-1][1]

    return states


@torch.no_grad()
def make_tuner(fitting: Problem, others: Sequence[Batch]) -> Tuner:
    """Make a tuner that fits to `fitting`. Statistics of the network, which some solvers share, come from `others`."""
    taken = {once: dict(once(others, (), Extent())) for once in {FITS[name].once for name in NAMES}}
    return Tuner(fitting, {name: taken[FITS[name].once] for name in NAMES})
