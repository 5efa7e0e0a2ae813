"""Nearness of previews to the run that they stand for, against the training of ConsistencySolver's policy."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.accelerate.previews import CALLS, FITTED, FITTED_ROWS, ROWS, SEEDS, pictures
from benchmarks.edit.cases import psnr
from benchmarks.result import Section, Table
from fastdiff.apps import full_run
from fastdiff.apps.tuning import measure
from fastdiff.apps.tuning.fits import TRAINING, full_runs
from fastdiff.models.registry import load_editable
from fastdiff.models.sampling_problem import GUIDANCE, SamplingProblem, load_sampling_problem
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED
from fastdiff.solvers.tuning import consistency

STOPS = (7, 15, 30, 60, 90, 120)  # iterations after which the policy is measured


class Curve:
    """The nearness of a policy in training: a row for each of STOPS. `seeds` are held out."""

    def __init__(self, problem: SamplingProblem, grids: Mapping[int, Grid], seeds: int, checkpoint: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._grids, self._checkpoint = grids, checkpoint
        self._decode = load_editable("scenes").decode
        self._held_out = list(problem.batches(seeds, held=True, rows=ROWS))
        self._full = pictures(self._decode, full_runs(self._held_out))
        self._began, self._measuring = time.process_time(), 0.0

    @torch.no_grad()
    def watch(self, done: int, total: int) -> None:
        """Add a row if the training reached one of STOPS; the time of measuring does not count."""
        if done not in STOPS:
            return
        stopped = time.process_time()
        policy = torch.load(self._checkpoint, weights_only=True)["policy"]
        nearness = {f"{nfe} calls": self._nearness(policy, grid) for nfe, grid in self._grids.items()}
        self.rows.append({"iterations": done, "seconds": stopped - self._began - self._measuring} | nearness)
        self._measuring += time.process_time() - stopped

    def _nearness(self, policy: Mapping[str, Tensor], grid: Grid) -> float:
        """Return the mean PSNR of previews to the run that they stand for, in dB."""
        solver = TUNED["consistency"].restore(policy, **TUNED["consistency"].options)
        return fmean(map(psnr, pictures(self._decode, measure.ends(self._held_out, solver, grid)), self._full))


def run(limit: int | None) -> Section:
    """Train as `tune` does, but longer; measure on the held-out seeds or at most `limit` of them."""
    problem = load_sampling_problem("scenes", guidance=GUIDANCE)
    batches = list(problem.batches(FITTED, first=FITTED, rows=FITTED_ROWS))
    grids = {nfe: SamplerConfig("ddim", full_run.GRID).levels(problem.schedule, nfe) for nfe in CALLS}
    seeds = SEEDS if limit is None else min(limit, SEEDS)
    references, plan = full_runs(batches), replace(TRAINING, iterations=STOPS[-1])
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "policy.ckpt"
        curve = Curve(problem, grids, seeds, checkpoint)
        consistency.train(batches, references, [*grids.values()], plan, watch=curve.watch, checkpoint=checkpoint)
    table = Table(
        f"Previews against the training of their policy, scenes, guidance {GUIDANCE:g}, {seeds} seeds",
        ("iterations", "seconds", *(f"{nfe} calls" for nfe in CALLS)),
        [tuple(row.values()) for row in curve.rows],
        f"PSNR in dB to {full_run.STEPS} steps of {full_run.SOLVER}; seconds of the processor",
    )
    return Section([table], curve.rows)
