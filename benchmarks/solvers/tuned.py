"""The tuned solvers: fitted as `fastdiff tune` fits them, on the grids where untuned solvers do best."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from benchmarks.solvers.course import Course
from benchmarks.solvers.field import Entrant
from benchmarks.solvers.ways import Fitted
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.recipe import Recipe
from fastdiff.solvers.tuned import TUNED
from fastdiff.training.tuning.fits import FITS, finest
from fastdiff.training.tuning.teacher import Teacher

Teachers = Callable[[Grid], Teacher]  # the fits on one grid share the runs of its teacher
NAMES = ("v3", "dc", "dode", "iia", "teleport", "teleport-iia")


@dataclass(frozen=True)
class Tuner:
    """`shared` holds the tensors of each solver that serve all numbers of calls."""

    few: Course
    shared: Mapping[str, Mapping[str, Tensor]]

    def entrants(self, calls: int, placed: Sequence[str]) -> list[Entrant]:
        """Each with the grid and the options that did best on all samples for fitting."""
        teachers = cache(lambda levels: remembered(finest(levels)))
        return [best for name in NAMES if (best := self._best(name, calls, placed, teachers)) is not None]

    def _best(self, name: str, calls: int, placed: Sequence[str], teachers: Teachers) -> Entrant | None:
        fits = (way for grid in placed for way in self._fits(name, calls, grid, teachers))
        errors = ((way, self.few.errors(way, calls)) for way in fits)
        tried = [Entrant(name, way, found.mean().item()) for way, found in errors if found is not None]
        return min(tried, key=lambda entrant: entrant.fitted, default=None)

    def _fits(self, name: str, calls: int, grid: str, teachers: Teachers) -> Iterator[Fitted]:
        """None where the fit does not work out on this grid."""
        kind, fit, once, schedule = TUNED[name], FITS[name], self.shared[name], self.few.batches[0][0].schedule
        evals = kind.inner(**kind.options).evals
        for options in fit.variants(calls, kind.options):
            recipe = Recipe(name, grid, options)
            try:
                levels = recipe.levels(schedule, calls, evals)
                yield Fitted(recipe, once | fit.each(self.few.batches, levels, options, once, teachers(levels)))
            except UsageError:
                continue


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
def tuner(few: Course) -> Tuner:
    """Takes the statistics of the network, which some solvers share."""
    taken = {once: dict(once(few.batches)) for once in {FITS[name].once for name in NAMES}}
    return Tuner(few, {name: taken[FITS[name].once] for name in NAMES})
