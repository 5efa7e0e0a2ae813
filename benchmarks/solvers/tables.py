"""Tables of a comparison: errors by number of evaluations, the chosen grids, and the gain of tuned solvers."""

from collections.abc import Callable, Iterable, Sequence

import torch

from benchmarks.result import Cell, Table
from benchmarks.solvers.comparison import Row
from benchmarks.solvers.participants import BASELINES
from benchmarks.solvers.tuned import NAMES

INSIGNIFICANT = 2.0  # standard errors: a mean difference, paired by seed, up to here may be chance
SUMMARISED = (5, 8)  # network evaluations of the summary
STANDARD = ("dpmpp-2m", "diffusers DPMSolverMultistep 2")
TELEPORTED = ("teleport", "teleport-iia")
NOTE = "Mean relative distance to the exact end; ~ where it is that of fewer seeds, for solvers that were far behind."


def errors(title: str, rows: Sequence[Row]) -> Table:
    """Return the mean error of every solver at every number of evaluations."""
    most = max(len(row["errors"]) for row in rows)

    def cell(row: Row) -> Cell:
        return f"{row['mean']:#.3g}" + ("~" if len(row["errors"]) < most else " ")

    return _crossed(title, rows, cell, f"{NOTE} {most} seeds.")


def samplers(title: str, rows: Sequence[Row]) -> Table:
    """Return the grid and options that every solver runs with."""
    shown = [row for row in rows if row["calls"] in SUMMARISED]
    note = (
        "Chosen on samples for fitting, from all grids for DPM-Solver++(2M) and UniPC, from their best ones for others."
    )
    return _crossed(f"{title}: where the steps lie", shown, lambda row: row["way"], note)


def summary(title: str, rows: Sequence[Row]) -> list[Table]:
    """Return the tables on tuned solvers, five evaluations, and evaluations that teleportation saves."""
    return [_verdicts(title, rows), _reach(title, rows), _skipped(title, rows)]


def _verdicts(title: str, rows: Sequence[Row]) -> Table:
    """Return the error of tuned solvers relative to the best baseline, and the sign of the difference."""
    columns, lines = ("solver", *(f"{calls} calls" for calls in SUMMARISED)), []
    for name in NAMES:
        lines.append((name, *(_verdict(_at(rows, name, calls), _baselines(rows, calls)) for calls in SUMMARISED)))
    note = f"Error over that of the best of {', '.join(BASELINES)}, and how it compares with that one, paired by seed."
    return Table(f"{title}: tuned solvers against DPM-Solver++(2M) and UniPC", columns, lines, note)


def _verdict(tuned: Row | None, baselines: Sequence[Row]) -> Cell:
    if tuned is None or not baselines:
        return None
    best = min(baselines, key=lambda row: row["mean"])
    return f"{tuned['mean'] / best['mean']:.2f} {compared(tuned, best)}"


def _reach(title: str, rows: Sequence[Row]) -> Table:
    """Return how many evaluations DPM-Solver++(2M) needs for the error of each solver of fastdiff at five."""
    standard = _standard(rows)
    fives = [row for row in rows if row["calls"] == SUMMARISED[0] and not row["solver"].startswith("diffusers")]
    lines = []
    for row in sorted(fives, key=lambda row: row["mean"]):
        equalled = [calls for calls, other in standard.items() if compared(row, other) != "worse"]
        lines.append((row["solver"], row["mean"], max(equalled, default=None)))
    columns = ("solver at 5 calls", "error", "DPM-Solver++(2M) at")
    note = "The most calls at which DPM-Solver++(2M), ours or theirs, is not better beyond the noise of the seeds."
    return Table(f"{title}: what five calls are worth", columns, lines, note)


def _skipped(title: str, rows: Sequence[Row]) -> Table:
    """Return how many evaluations teleportation saves at the error of DPM-Solver++(2M)."""
    known = sorted({row["calls"] for row in rows})
    lines: list[tuple[Cell, ...]] = []
    for calls, plain in _standard(rows).items():
        line: tuple[Cell, ...] = (calls, plain["mean"])
        for name in TELEPORTED:
            runs = [run for each in known if each <= calls and (run := _at(rows, name, each))]
            found = next((run for run in runs if run["mean"] <= plain["mean"]), None)
            line += (found["calls"], 1 - found["calls"] / calls) if found else (None, None)
        lines.append(line)
    heads = [head for name in TELEPORTED for head in (f"{name} at", "share saved")]
    note = "The fewest calls at which teleportation leaves no more error, and the share of the calls that it saves."
    return Table(f"{title}: calls that teleportation saves", ("dpmpp-2m at", "error", *heads), lines, note)


def _standard(rows: Sequence[Row]) -> dict[int, Row]:
    """Return DPM-Solver++(2M) by number of evaluations: of fastdiff or diffusers, whichever has less error."""
    found: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: (row["calls"], row["mean"])):
        if row["solver"] in STANDARD:
            found.setdefault(row["calls"], row)
    return found


def compared(a: Row, b: Row) -> str:
    """Return "better" or "worse" for `a` against `b` on their common seeds, or "even" for no significant difference."""
    count = min(len(a["errors"]), len(b["errors"]))
    gap = torch.tensor(a["errors"][:count], dtype=torch.float64) - torch.tensor(b["errors"][:count])
    if count < 2 or gap.mean().abs() <= INSIGNIFICANT * gap.std() / count**0.5:
        return "even"
    return "better" if gap.mean() < 0 else "worse"


def _baselines(rows: Sequence[Row], calls: int) -> list[Row]:
    return [row for name in BASELINES if (row := _at(rows, name, calls))]


def _at(rows: Iterable[Row], name: str, calls: int) -> Row | None:
    return next((row for row in rows if (row["solver"], row["calls"]) == (name, calls)), None)


def _crossed(title: str, rows: Sequence[Row], cell: Callable[[Row], Cell], note: str) -> Table:
    """Return a table with a line for every solver and a column for every number of evaluations."""
    calls = sorted({row["calls"] for row in rows})
    lines = []
    for name in dict.fromkeys(row["solver"] for row in rows):
        mine = {row["calls"]: cell(row) for row in rows if row["solver"] == name}
        lines.append((name, *(mine.get(each) for each in calls)))
    return Table(title, ("solver", *(f"{each} calls" for each in calls)), lines, note)
