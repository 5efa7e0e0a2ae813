"""ParaDiGMS on problems in closed form: rounds, evaluations and error, beside sequential runs of as many rounds."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from benchmarks.accelerate.problems import on_every_problem
from benchmarks.result import Section
from benchmarks.solvers.mixtures import end, start
from fastdiff.apps.tuning import measure
from fastdiff.solvers.closed_form import Mixture
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.registry import SOLVERS

NAMES = ("dpmpp-2m", "unipc", "ddim")
STEPS = (20, 50, 100)
TOLERANCES = (1e-3, 1e-2, 1e-1)
WINDOW = 16  # steps
COLUMNS = ("", "rounds", "evaluations", "to sequential", "error", "sequential", "as many steps")
NOTE = (
    f"At most {WINDOW} states in a round; means over seeds that run alone. Relative distances: of the parallel end to "
    "the sequential one; then to the exact end, of the parallel run, the sequential run, and a sequential run with as "
    "many steps as rounds."
)


def run(limit: int | None) -> Section:
    return on_every_problem(_rows, "{}, {} steps, {:g}", "Steps in parallel", COLUMNS, NOTE, limit)


def _rows(f: Mixture, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every solver, number of steps and tolerance."""
    _, x = start(f, range(seeds))
    exact = end(x, f)
    for name in NAMES:
        for steps in STEPS:
            levels = grid(log_snr, f.schedule, steps, clean=True)
            sequential = integrate(f, SOLVERS[name](), x, levels).x
            for tolerance in TOLERANCES:
                runs = [
                    integrate_parallel(f, SOLVERS[name](), item, levels, window=WINDOW, tolerance=tolerance)
                    for item in x[:, None]
                ]
                rounds = fmean(run.rounds for run in runs)
                fewer = grid(log_snr, f.schedule, round(rounds), clean=True)
                yield {
                    "solver": name,
                    "steps": steps,
                    "tolerance": tolerance,
                    "rounds": rounds,
                    "evaluations": fmean(run.evaluations for run in runs),
                    "to_sequential": _error([run.x for run in runs], sequential),
                    "error": _error([run.x for run in runs], exact),
                    "error_sequential": _error([sequential], exact),
                    "error_as_many_steps": _error([integrate(f, SOLVERS[name](), x, fewer).x], exact),
                }


def _error(ends: Sequence[Tensor], exact: Tensor) -> float:
    """Return the mean relative distance of the ends, in parts of the batch, to the exact ones."""
    return measure.errors(ends, exact.split([len(part) for part in ends])).mean().item()
