"""Previews in few calls beside the run of many steps that they stand for, from the same noise, on the scenes model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.bootstrap import paired_difference
from benchmarks.edit.cases import as_picture, judge, psnr
from benchmarks.result import Cell, Section, Table
from fastdiff.apps import full_run
from fastdiff.apps.edit.shape import EmojiShapes
from fastdiff.apps.tuning import measure, search
from fastdiff.apps.tuning.fits import FITS, Extent, finest, full_runs, scouted
from fastdiff.models.registry import load_editable
from fastdiff.models.sampling_problem import GUIDANCE, load_sampling_problem
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED

CALLS = (5, 8)
SEEDS, ROWS = 32, 8  # held out, and of a batch
FITTED, FITTED_ROWS = 8, 4  # samples that solvers are fitted to, as `tune` does by default, and of a batch
PLAIN = ("ddim", "dpmpp-2m", "unipc")
OURS = ("consistency", "consistency-gradients")
MEASURES = ("distance", "psnr", "shape", "alike")
COLUMNS = ("", "distance", "PSNR", "shape", "reads alike", *(f"{name} is nearer by, dB" for name in OURS))
NOTE = (
    f"To {full_run.STEPS} steps of {full_run.SOLVER} on {full_run.GRID}, mean over held-out seeds: distance of latents "
    "relative to their norm; PSNR of pictures in dB; overlap of the emoji at its best pose (intersection over union); "
    "share in which an independent recogniser reads the same concept. Then the mean difference in PSNR, with its 95 % "
    "interval paired by seed: above 0, ConsistencySolver is nearer. Grids and options of the others are those that are "
    f"nearest to the full run on {FITTED_ROWS} of the {FITTED} samples for fitting."
)
Row = dict[str, list[float]]  # measures of every seed


@dataclass(frozen=True, eq=False)
class Sampler:
    """A solver with the grid of its steps."""

    name: str
    solver: Solver[Any]
    levels: Grid


def run(limit: int | None) -> Section:
    """Measure on the guided model, on the held-out seeds or at most `limit` of them."""
    previews = Previews(SEEDS if limit is None else min(limit, SEEDS))
    tables, pages = [], []
    for nfe in CALLS:
        rows = {sampler.name: previews.measures(sampler) for sampler in previews.samplers(nfe)}
        title = f"Previews in {nfe} calls, scenes, guidance {GUIDANCE:g}, {previews.seeds} seeds"
        tables.append(Table(title, COLUMNS, [_shown(name, rows) for name in rows], NOTE))
        pages += [{"calls": nfe, "solver": name} | row for name, row in rows.items()]
    return Section(tables, pages)


class Previews:
    """The samples of the model, and what solvers share for all numbers of calls."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self.problem = load_sampling_problem("scenes", guidance=GUIDANCE)
        self._decode = load_editable("scenes").decode
        self._judge = judge()
        self._shapes = EmojiShapes(self._judge.labels.concepts)
        self._fitted, others = (
            list(self.problem.batches(FITTED, first=first, rows=FITTED_ROWS)) for first in (0, FITTED)
        )
        self._held_out = list(self.problem.batches(seeds, held=True, rows=ROWS))
        self._full, self._full_fitted = full_runs(self._held_out), full_runs(self._fitted)
        self._full_pictures = pictures(self._decode, self._full)
        grids = [SamplerConfig("ddim", full_run.GRID).levels(self.problem.schedule, nfe) for nfe in CALLS]
        self._shared = {name: FITS[name].once(others, grids, Extent()) for name in ("v3", "teleport", *OURS)}
        self._shared["teleport-iia"] = self._shared["teleport"]

    def samplers(self, nfe: int) -> Iterator[Sampler]:
        """Yield the samplers of so many calls, each on the grid of the full run and on the best one, ours last."""
        placed = search.grids(self.problem.schedule)
        for name in PLAIN:
            best = self._nearest([SamplerConfig(name, grid) for grid in placed], nfe)
            for grid in dict.fromkeys((full_run.GRID, best.grid)):
                yield self._made(SamplerConfig(name, grid), nfe)
        switches = FITS["v3"].variants(nfe, {})  # `best` is that of UniPC, the base of v3
        grids = dict.fromkeys((full_run.GRID, best.grid))
        yield self._made(self._nearest([SamplerConfig("v3", *each) for each in product(grids, switches)], nfe), nfe)
        scout = scouted(placed, nfe, TUNED["teleport"].options, lambda config: self._error(config, nfe))
        yield self._made(SamplerConfig("teleport-iia", *scout), nfe)
        for name in OURS:
            yield self._made(SamplerConfig(name, full_run.GRID, TUNED[name].options), nfe)

    def measures(self, sampler: Sampler) -> Row:
        """Return the measures of every held-out seed."""
        ends = measure.ends(self._held_out, sampler.solver, sampler.levels)
        pairs = list(zip(pictures(self._decode, ends), self._full_pictures, strict=True))
        alike = [self._judge.read(a)[0].concept == self._judge.read(b)[0].concept for a, b in pairs]
        return {
            "distance": measure.errors(ends, self._full).tolist(),
            "psnr": [psnr(a, b) for a, b in pairs],
            "shape": [self._overlap(a, b) for a, b in pairs],
            "alike": [float(each) for each in alike],
        }

    def _overlap(self, preview: Tensor, full: Tensor) -> float:
        """Return the overlap of the emoji of the full picture with the same emoji in the preview."""
        concept = self._judge.read(full)[0].concept
        a, b = (self._shapes.fit(as_picture(each), concept).opaque for each in (preview, full))
        return float((a & b).sum() / (a | b).sum())

    def _made(self, config: SamplerConfig, nfe: int) -> Sampler:
        """Make a sampler; a tuned one is fitted."""
        levels, solver = config.levels(self.problem.schedule, nfe), config.solver
        name = solver if solver in OURS else f"{solver}, {config.grid}"
        if solver in SOLVERS:
            return Sampler(name, config.make(), levels)
        shared = self._shared[solver]
        fitted = FITS[solver].each(self._fitted, levels, config.options, shared, finest(levels))
        return Sampler(name, TUNED[solver].restore({**shared, **fitted}, **config.options), levels)

    def _nearest(self, configs: Sequence[SamplerConfig], nfe: int) -> SamplerConfig:
        return min(configs, key=lambda config: self._error(config, nfe))

    def _error(self, config: SamplerConfig, nfe: int) -> float:
        """Return the mean distance on the first samples for fitting; inf if the grid does not fit."""
        try:
            sampler = self._made(config, nfe)
            ends = measure.ends(self._fitted[:1], sampler.solver, sampler.levels)
        except UsageError:
            return inf
        return measure.errors(ends, self._full_fitted[:1]).mean().item()


@torch.no_grad()
def pictures(decode: Callable[[Tensor], Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """Return a picture (1, 3, H, W) in [-1, 1] of every item."""
    return [each[None] for batch in latents for each in decode(batch).clamp(-1, 1)]


def _shown(name: str, rows: Mapping[str, Row]) -> tuple[Cell, ...]:
    differences = []
    for own in OURS:
        gain = paired_difference(np.asarray(rows[name]["psnr"]), np.asarray(rows[own]["psnr"]))
        differences.append("" if name == own else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gain))
    return (name, *(fmean(rows[name][each]) for each in MEASURES), *differences)
