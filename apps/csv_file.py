"""Reads CSV files, limited in size; every error is one sentence."""

import csv
import io
from pathlib import Path

from fastdiff.solvers.errors import UsageError

LARGEST = 10_000_000  # bytes


def read_rows(path: Path) -> tuple[frozenset[str], dict[int, dict[str, str | None]]]:
    """Return the names of the columns, and the rows by the number of their last line in the file.

    Cells that a row lacks are None; surplus cells stand under the key None. Rows of blank cells are left out.
    Raises UsageError for a file that is too large, or no CSV in UTF-8.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= LARGEST else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if text is None:
        raise UsageError(f"{path} has {size} bytes: at most {LARGEST}")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
        filled = {number: row for number, row in rows if any(map(_is_filled, row.values()))}
        return frozenset(reader.fieldnames or ()), filled
    except csv.Error as error:
        raise UsageError(f"{path} is not CSV: {error}") from error


def _is_filled(cell: str | list[str] | None) -> bool:
    return any(map(str.strip, cell if isinstance(cell, list) else [cell or ""]))
