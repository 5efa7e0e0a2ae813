"""The outcome of a section of a benchmark: tables to print, pages behind them, pictures to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under columns, the first of which names the row; `note` explains the table."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    note: str = ""

    def __str__(self) -> str:
        cells = [self.columns, *(tuple(map(_shown, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width)
                      for index, (cell, width) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]  # fmt: skip
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Strip:
    """A page before and after cleaning with its truth, uint8 or bool; a higher `score` is better."""

    name: str
    score: float
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Section:
    """The outcome of one section."""

    tables: list[Table]
    pages: list[dict[str, Any]] = field(default_factory=list)  # the measures of every page
    strips: list[Strip] = field(default_factory=list)
    sheet: list[Strip] = field(default_factory=list)  # shown on one sheet, in this order


def mean(pages: list[dict[str, Any]], measure: str) -> float | None:
    """Return the mean of a measure over pages, None without any."""
    return fmean(float(page[measure]) for page in pages) if pages else None


def means(pages: list[dict[str, Any]], key: str, measures: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Return a row for every value of `key`, in order: the value, the mean of each measure, the number of pages."""
    rows = []
    for value in dict.fromkeys(page[key] for page in pages):
        mine = [page for page in pages if page[key] == value]
        rows.append((value, *(mean(mine, measure) for measure in measures), len(mine)))
    return rows


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:#.4g}" if isinstance(cell, float) else str(cell)
