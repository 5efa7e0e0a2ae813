"""Caches and SADA at half and a third of the cost of a long run, beside runs of fewer steps, on networks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accelerate.contestants import Cached, Contestant, Outcome, Plain, measured
from benchmarks.accelerate.fitted import Fitted, fitted
from benchmarks.accelerate.heat_map import draw
from benchmarks.bootstrap import paired_difference
from benchmarks.result import Section, Table
from fastdiff.apps.tuning import measure, search
from fastdiff.apps.tuning.measure import Batch
from fastdiff.models.acceleration.calibration import Calibration, calibrate, joined
from fastdiff.models.acceleration.preparation import prepare
from fastdiff.models.acceleration.registry import CACHES, Cache
from fastdiff.models.hooks import BLOCKS
from fastdiff.models.sampling_problem import SamplingProblem, load_sampling_problem
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada_budget import sada_for_budget
from fastdiff.solvers.sampler_config import SamplerConfig

SOLVER, STEPS = "dpmpp-2m", 50
FEWER = (25, 17)  # half and a third of STEPS
GRID = "time-uniform+clean"
RIVAL = "unipc"  # on the same grid as SOLVER, and on the one that is best for it
TUNED = ("v3", "teleport-iia")  # on the grid that `tune` chooses
SEEDS, ROWS = 32, 16  # held out, and of a batch
FITTED, FITTED_ROWS = 8, 4  # samples that caches are calibrated and grids chosen on, and of a batch
SIDE = 64  # pixels of a side of page crops
COLUMNS = ("", "calls", "time", "MB", "to full run", "against fewer steps", "to exact end", "against fewer steps")
NOTE = (
    f"The full run is {STEPS} steps of {SOLVER} on {GRID}. Calls count the FLOPs of what was computed; time is that of "
    f"the processor, a share of the full run's. Relative distances, mean over held-out seeds, and their difference to "
    f"{SOLVER} with as many steps with its 95 % interval, paired by seed: below 0 is nearer. Caches are those that "
    "`tune` prepares; an acceleration that cannot meet a cost has no row."
)


def run(limit: int | None, pictures: Path | None = None) -> Section:
    """Race on the bundled backbone at two guidance scales, and on the denoiser of pages."""
    problems = {
        "scenes, guidance 1": load_sampling_problem("scenes", guidance=1.0),
        "scenes, guidance 4.5": load_sampling_problem("scenes", guidance=4.5),
        "docclean's denoiser": load_sampling_problem("docclean", size=SIDE),
    }
    tables, pages = [], []
    for title, problem in problems.items():
        race = Race(problem, SEEDS if limit is None else min(limit, SEEDS))
        rows = list(race.rows())
        tables.append(Table(f"Race, {title}", COLUMNS, [_shown(row) for row in rows], NOTE))
        pages += [{"race": title} | row for row in rows]
        if pictures is not None and race.calibration is not None:
            draw(pictures / f"{title.replace(',', '').replace(' ', '-')}.png", race.calibration.changes, title)
    return Section(tables, pages)


@dataclass(frozen=True, eq=False)
class Race:
    """A race on one network."""

    problem: SamplingProblem
    seeds: int

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the record of every contestant, the full run first, then those at each cost."""
        full = self._outcome(Plain(SOLVERS[SOLVER](), self._grid(STEPS)))
        ends = {"full": full.ends, "exact": measure.reference(self._held_out)}
        yield self._row(f"{SOLVER}, {STEPS} steps", full, full, ends, None)
        for steps in FEWER:
            fewer = self._outcome(Plain(SOLVERS[SOLVER](), self._grid(steps)))
            yield self._row(f"{SOLVER}, {steps} steps", fewer, full, ends, None)
            for name, contestant in self._contestants(steps):
                yield self._row(name, self._outcome(contestant), full, ends, fewer)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The changes of the features of a network whose blocks caches know, None for another one."""
        if not any(hasattr(self.problem.network, name) for name in BLOCKS):
            return None
        solver, levels, network = SOLVERS[SOLVER](), self._grid(STEPS), self.problem.network
        with torch.no_grad():
            return joined([calibrate(f, network, solver, levels, x) for f, x in self._fitting])

    def _contestants(self, steps: int) -> Iterator[tuple[str, Contestant]]:
        for grid in dict.fromkeys((GRID, self._best_grid(steps))):
            levels = SamplerConfig(RIVAL, grid).levels(self.problem.schedule, steps)
            yield f"{RIVAL}, {steps} steps, {grid}", Plain(SOLVERS[RIVAL](), levels)
        for name, by_steps in self._tuned.items():
            solver, levels, grid = by_steps[steps]
            yield f"{name}, {steps} steps, {grid}", Plain(solver, levels)
        for name in (*CACHES, "sada") if self.calibration is not None else ("sada",):
            with suppress(UsageError):  # for a budget that it cannot meet
                yield name, self._accelerated(name, steps)

    def _accelerated(self, name: str, steps: int) -> Contestant:
        solver, levels = SOLVERS[SOLVER](), self._grid(STEPS)
        if name == "sada":
            return Plain(sada_for_budget(solver, levels, steps / STEPS), levels)
        return Cached(solver, levels, self.problem.network, self._cache(name, steps))

    def _cache(self, name: str, steps: int) -> Cache:
        assert self.calibration is not None
        (f, x), solver, levels = self._fitting[0], SOLVERS[SOLVER](), self._grid(STEPS)
        with torch.no_grad():
            return prepare(name, steps / STEPS, self.calibration, f, self.problem.network, solver, levels, x)

    def _best_grid(self, steps: int) -> str:
        """Return the grid on which RIVAL ends nearest to the exact end."""
        configs = [SamplerConfig(RIVAL, grid) for grid in search.grids(self.problem.schedule)]
        return search.ranked(configs, steps, self._fitting, self._fitting_exact)[0].config.grid

    def _row(
        self, name: str, outcome: Outcome, full: Outcome, ends: Mapping[str, Sequence[Tensor]], fewer: Outcome | None
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "way": name,
            "calls": outcome.calls,
            "time": outcome.seconds / full.seconds,
            "bytes": outcome.nbytes,
        }
        for end, exact in ends.items():
            errors = measure.errors(outcome.ends, exact)
            row[end] = errors.tolist()
            if fewer is not None:
                row[f"{end}_difference"] = paired_difference(measure.errors(fewer.ends, exact).numpy(), errors.numpy())
        return row

    def _outcome(self, contestant: Contestant) -> Outcome:
        return measured(contestant, self._held_out)

    def _grid(self, steps: int) -> Grid:
        return SamplerConfig(SOLVER, GRID).levels(self.problem.schedule, steps)

    @cached_property
    def _held_out(self) -> list[Batch]:
        return list(self.problem.batches(self.seeds, held=True, rows=ROWS))

    @cached_property
    def _tuned(self) -> dict[str, dict[int, Fitted]]:
        return {name: fitted(self.problem, name, FEWER) for name in TUNED}

    @cached_property
    def _fitting_exact(self) -> list[Tensor]:
        return measure.reference(self._fitting)

    @cached_property
    def _fitting(self) -> list[Batch]:
        return list(self.problem.batches(FITTED, rows=FITTED_ROWS))


def _shown(row: Mapping[str, Any]) -> tuple[Any, ...]:
    cells = [row["way"], row["calls"], row["time"], row["bytes"] / 1e6]
    for end in ("full", "exact"):
        cells.append(float(np.mean(row[end])))
        difference = row.get(f"{end}_difference")
        cells.append("" if difference is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*difference))
    return tuple(cells)
