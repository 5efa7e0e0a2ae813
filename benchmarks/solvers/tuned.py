"""The tuned solvers: fitted as `fastdiff tune` fits them, on the grids where untuned solvers do best."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.solvers.course import Course
from benchmarks.solvers.field import Entrant, mean
from benchmarks.solvers.ways import Fitted
from fastdiff.apps.tuning.fits import FITS, finest, scouted
from fastdiff.apps.tuning.measure import Batch
from fastdiff.apps.tuning.search import grids
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED
from fastdiff.solvers.tuning.teacher import Teacher

Teachers = Callable[[Grid], Teacher]  # the fits on one grid share the runs of its teacher
NAMES = ("v3", "dc", "dode", "iia", "teleport", "teleport-iia")


@dataclass(frozen=True)
class Tuner:
    """`shared` holds the tensors of each solver that serve all numbers of calls."""

    few: Course
    shared: Mapping[str, Mapping[str, Tensor]]

    def entrants(self, calls: int, placed: Sequence[str]) -> list[Entrant]:
        """Each with the grid and the options that did best on all samples for fitting; `placed` are grids to try."""
        teachers = cache(lambda levels: remembered(finest(levels)))
        scout = [SamplerConfig("teleport", *self._scouted(calls))]
        entrants = []
        for name in NAMES:
            options = FITS[name].variants(calls, TUNED[name].options)
            recipes = scout if FITS[name].scouted else [SamplerConfig(name, *each) for each in product(placed, options)]
            tried = self._tried(name, calls, recipes, teachers)
            entrants += sorted(tried, key=lambda entrant: entrant.fitted)[:1]
        return entrants

    def _tried(self, name: str, calls: int, recipes: Sequence[SamplerConfig], teachers: Teachers) -> Iterator[Entrant]:
        """Fits whose grid and number of calls go together, with their errors."""
        once, schedule = self.shared[name], self.few.batches[0][0].schedule
        for recipe in recipes:
            try:
                levels = recipe.levels(schedule, calls)
                fitted = FITS[name].each(self.few.batches, levels, recipe.options, once, teachers(levels))
            except UsageError:
                continue
            way = Fitted(SamplerConfig(name, recipe.grid, recipe.options), {**once, **fitted})
            if (errors := self.few.errors(way, calls)) is not None:
                yield Entrant(name, way, errors.mean().item())

    def _scouted(self, calls: int) -> tuple[str, Mapping[str, Any]]:
        def error(recipe: SamplerConfig) -> float:
            return mean(self.few, Fitted(recipe, self.shared["teleport"]), calls)

        return scouted(grids(self.few.batches[0][0].schedule), calls, TUNED["teleport"].options, error)


def remembered(teacher: Teacher) -> Teacher:
    """`teacher`, asked once about each start."""
    known: list[tuple[Tensor, Sequence[Tensor]]] = []

    def states(f: Denoiser, x: Tensor) -> Sequence[Tensor]:
        for start, visited in known:
            if start is x:
                return visited
        known.append((x, teacher(f, x)))
        return known[-1][1]

    return states


@torch.no_grad()
def tuner(few: Course, others: Sequence[Batch]) -> Tuner:
    """`few` are fitted to; `others` give the statistics of the network, which some solvers share."""
    taken = {once: dict(once(others)) for once in {FITS[name].once for name in NAMES}}
    return Tuner(few, {name: taken[FITS[name].once] for name in NAMES})
