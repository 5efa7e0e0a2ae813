"""SADA on the bundled model of scenes: evaluations and error, beside runs of fewer steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.bootstrap import paired_difference
from benchmarks.result import Cell, Section, Table
from benchmarks.solvers.comparison import ROWS
from benchmarks.solvers.networks import GUIDANCES, join, limited
from fastdiff.apps.tuning import measure
from fastdiff.models.sampling_problem import load_sampling_problem
from fastdiff.solvers.denoiser import CountingDenoiser, Tally
from fastdiff.solvers.grids import Grid, grid
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import SADA
from fastdiff.solvers.spacings import SPACINGS

NAME = "dpmpp-2m"
STEPS = (50, 25)
GRIDS = ("linspace", "log-snr")  # the model's own grid, and the best one for fixed steps
INTERVALS = (2.0, 3.0, 4.0)  # strides
COLUMNS = (
    "",
    "evaluations",
    "to full run",
    "fewer steps",
    "unipc",
    "difference",
    "error",
    "full run",
    "fewer",
    "unipc",
)
NOTE = (
    "Means over seeds. Relative distances to the end of the full run: of SADA, of the same solver and of UniPC with as "
    "many steps as SADA has evaluations, and that of SADA less that of the same solver with its paired 95 % interval; "
    "then of SADA, the full run, the same solver and UniPC to a run of 200 evaluations."
)


def run(limit: int | None) -> Section:
    """Measure at both guidance scales, on the held-out seeds or at most `limit` of them."""
    sections = []
    for guidance in GUIDANCES:
        problem = load_sampling_problem("scenes", guidance=guidance)
        rows = list(_rows(list(problem.batches(limited(limit), held=True, rows=ROWS))))
        title = f"SADA, scenes, guidance {guidance:g}, {limited(limit)} seeds"
        table = Table(title, COLUMNS, [_shown(row) for row in rows], NOTE)
        sections.append(Section([table], [{"guidance": guidance} | row for row in rows]))
    return join(sections)


def _rows(batches: Sequence[measure.Batch]) -> Iterator[dict[str, Any]]:
    """Yield a row for every grid, number of steps and interval."""
    schedule, exact = batches[0][0].schedule, measure.reference(batches)
    for spacing in GRIDS:
        for steps in STEPS:
            full = measure.ends(batches, SOLVERS[NAME](), grid(SPACINGS[spacing], schedule, steps, clean=True))
            for interval in INTERVALS:
                levels = grid(SPACINGS[spacing], schedule, steps, clean=True)
                skipped, evaluations = _counted(batches, SADA(SOLVERS[NAME](), interval=interval), levels)
                fewer = grid(SPACINGS[spacing], schedule, evaluations, clean=True)
                made = {
                    "sada": skipped,
                    "full": full,
                    "fewer": measure.ends(batches, SOLVERS[NAME](), fewer),
                    "unipc": measure.ends(batches, SOLVERS["unipc"](), fewer),
                }
                yield {
                    "case": f"{steps} steps, {spacing}, interval {interval:g}",
                    "evaluations": evaluations,
                    "to_full": {name: measure.errors(ends, full).tolist() for name, ends in made.items()},
                    "error": {name: measure.errors(ends, exact).tolist() for name, ends in made.items()},
                }


def _counted(batches: Sequence[measure.Batch], solver: Solver[Any], levels: Grid) -> tuple[list[Tensor], int]:
    """Return the end of every batch, and the evaluations of a run, which are the same for all."""
    tally = Tally()
    ends = measure.ends([(CountingDenoiser(f, tally), x) for f, x in batches], solver, levels)
    return ends, tally.nfe // len(batches)


def _shown(row: dict[str, Any]) -> tuple[Cell, ...]:
    near, error = ({name: np.asarray(each) for name, each in row[key].items()} for key in ("to_full", "error"))
    gain = paired_difference(near["fewer"], near["sada"])
    return (
        row["case"],
        row["evaluations"],
        *(near[name].mean() for name in ("sada", "fewer", "unipc")),
        f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        *(error[name].mean() for name in ("sada", "full", "fewer", "unipc")),
    )
