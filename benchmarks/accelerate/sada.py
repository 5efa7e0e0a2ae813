"""SADA on problems in closed form: evaluations and error, beside runs of fewer steps."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks.accelerate.problems import on_every_problem
from benchmarks.result import Section
from benchmarks.solvers.mixtures import end, start
from fastdiff.apps.tuning import measure
from fastdiff.solvers.closed_form import Mixture
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import SADA
from fastdiff.solvers.spacings import SPACINGS

REGIMES: dict[str, dict[str, Any]] = {"plan": {}, "criterion": {"stepwise": 1.0, "longest": 4}}
CASES = (
    ("dpmpp-2m", "plan"),
    ("dpmpp-2m", "criterion"),
    ("dpm-2", "criterion"),
    ("ddim", "plan"),
    ("unipc", "plan"),
)  # solver, regime
STEPS = (25, 50)
GRIDS = ("log-snr", "time-uniform")
COLUMNS = ("", "evaluations", "to full run", "fewer steps", "error", "full run", "fewer steps", "unipc")
NOTE = (
    "Means over seeds that run alone. Relative distances: to the end of the full run, of SADA and of the same solver "
    "with as many steps as SADA has evaluations; then to the exact end, of SADA, of the full run, and of the same "
    "solver and UniPC with as many steps."
)


def run(limit: int | None) -> Section:
    return on_every_problem(_rows, "{0}, {2} steps, {1}", "SADA", COLUMNS, NOTE, limit)


def _rows(f: Mixture, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every solver and regime, grid and number of steps."""
    _, x = start(f, range(seeds))
    exact = end(x, f)

    def ends(solver: Solver[Any], spacing: str, steps: list[int]) -> tuple[Tensor, list[int]]:
        """Return the end of every item, over its number of steps, and its number of evaluations."""
        counted = [CountingDenoiser(f) for _ in steps]
        levels = [grid(SPACINGS[spacing], f.schedule, each, clean=True) for each in steps]
        runs = zip(counted, x[:, None], levels, strict=True)
        found = torch.cat([integrate(g, solver, item, each).x for g, item, each in runs])
        return found, [g.tally.nfe for g in counted]

    for name, regime in CASES:
        for spacing in GRIDS:
            for steps in STEPS:
                full, _ = ends(SOLVERS[name](), spacing, [steps] * seeds)
                skipped, calls = ends(SADA(SOLVERS[name](), **REGIMES[regime]), spacing, [steps] * seeds)
                fewer, _ = ends(SOLVERS[name](), spacing, calls)
                unipc, _ = ends(SOLVERS["unipc"](), spacing, calls)
                yield {
                    "solver": f"{name}, {regime}",
                    "grid": spacing,
                    "steps": steps,
                    "evaluations": fmean(calls),
                    "to_full": _error(skipped, full),
                    "fewer_to_full": _error(fewer, full),
                    "error": _error(skipped, exact),
                    "error_full": _error(full, exact),
                    "error_fewer": _error(fewer, exact),
                    "error_unipc": _error(unipc, exact),
                }


def _error(ends: Tensor, exact: Tensor) -> float:
    return measure.errors([ends], [exact]).mean().item()
