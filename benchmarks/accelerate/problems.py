"""Runs a measurement on every problem in closed form."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.result import Section, Table
from benchmarks.solvers.mixtures import PROBLEMS
from fastdiff.solvers.closed_form import SCHEDULES, Mixture

SEEDS = 8
CASE = 3  # values of a row that describe what was measured; the others are measurements


def on_every_problem(
    rows_of: Callable[[Mixture, int], Iterator[dict[str, Any]]],
    described: str,
    name: str,
    columns: tuple[str, ...],
    note: str,
    limit: int | None,
) -> Section:
    """Make a table for every problem, on SEEDS seeds or at most `limit`; `described` formats the values of a case."""
    tables, pages = [], []
    for title, schedule in PROBLEMS.items():
        rows = list(rows_of(Mixture(SCHEDULES[schedule]), SEEDS if limit is None else min(limit, SEEDS)))
        pages += [{"problem": title} | row for row in rows]
        values = [tuple(row.values()) for row in rows]
        shown = [(described.format(*each[:CASE]), *each[CASE:]) for each in values]
        tables.append(Table(f"{name}, {title}", columns, shown, note))
    return Section(tables, pages)
