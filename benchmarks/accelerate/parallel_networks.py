"""ParaDiGMS on the bundled model of scenes: rounds, evaluations, seconds, and distance to the sequential run."""

import time
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.accelerate.parallel import NAMES, STEPS, TOLERANCES, WINDOW
from benchmarks.bootstrap import paired_difference
from benchmarks.result import Cell, Section, Table
from benchmarks.solvers.networks import limited
from fastdiff.apps.tuning import measure
from fastdiff.models.sampling_problem import GUIDANCE, load_sampling_problem
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.registry import SOLVERS

COLUMNS = (
    "", "rounds", "evaluations", "seconds", "sequential", "wide GPU", "to sequential", "as many steps", "difference"
)  # fmt: skip
NOTE = (
    f"At most {WINDOW} states in a round; means over seeds that run alone, log SNR. Seconds on this machine: of the "
    "parallel run, of the sequential run, and, computed from the rounds, of the parallel run on a GPU that evaluates "
    f"{WINDOW} states as fast as this machine evaluates one. Relative distances to the sequential end: of the parallel "
    "run, of a sequential run with as many steps as rounds, and their difference with its paired 95 % interval."
)


def run(limit: int | None) -> Section:
    """Measure on the guided model, on the held-out seeds or at most `limit` of them."""
    problem = load_sampling_problem("scenes", guidance=GUIDANCE)
    items = list(problem.batches(limited(limit), held=True, rows=1))
    rows = list(_rows(items))
    title = f"Steps in parallel, scenes, guidance {GUIDANCE:g}, {len(items)} seeds, {torch.get_num_threads()} threads"
    return Section([Table(title, COLUMNS, [_shown(row) for row in rows], NOTE)], rows)


@torch.no_grad()
def _rows(items: Sequence[measure.Batch]) -> Iterator[dict[str, Any]]:
    """Yield a row for every solver, number of steps and tolerance."""
    schedule = items[0][0].schedule
    for name in NAMES:
        solver = SOLVERS[name]()
        for steps in STEPS:
            levels = grid(log_snr, schedule, steps, clean=True)
            began = time.perf_counter()
            sequential = measure.ends(items, solver, levels)
            seconds = (time.perf_counter() - began) / len(items)
            for tolerance in TOLERANCES:
                began = time.perf_counter()
                runs = [integrate_parallel(f, solver, x, levels, window=WINDOW, tolerance=tolerance) for f, x in items]
                seconds_parallel = (time.perf_counter() - began) / len(items)
                fewer = [grid(log_snr, schedule, run.rounds, clean=True) for run in runs]
                ends = [integrate(f, solver, x, each).x for (f, x), each in zip(items, fewer, strict=True)]
                rounds = fmean(run.rounds for run in runs)
                yield {
                    "solver": name,
                    "steps": steps,
                    "tolerance": tolerance,
                    "rounds": rounds,
                    "evaluations": fmean(run.evaluations for run in runs),
                    "seconds": seconds_parallel,
                    "seconds_sequential": seconds,
                    "seconds_wide": seconds * rounds / steps,
                    "to_sequential": measure.errors([run.x for run in runs], sequential).tolist(),
                    "as_many_steps": measure.errors(ends, sequential).tolist(),
                }


def _shown(row: dict[str, Any]) -> tuple[Cell, ...]:
    """Return a row of the table: means over seeds, and the interval of their difference."""
    ours, fewer = np.asarray(row["to_sequential"]), np.asarray(row["as_many_steps"])
    gain = paired_difference(fewer, ours)
    case = f"{row['solver']}, {row['steps']} steps, {row['tolerance']:g}"
    measured = [row[key] for key in ("rounds", "evaluations", "seconds", "seconds_sequential", "seconds_wide")]
    return (case, *measured, ours.mean(), fewer.mean(), f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
