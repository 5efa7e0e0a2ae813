"""Reads CSV files, limited in size; every error is one sentence."""

import csv
from pathlib import Path

from fastdiff.solvers.errors import UsageError

LARGEST = 10_000_000  # bytes


def read_rows(path: Path) -> tuple[frozenset[str], list[dict[str, str | None]]]:
    """Return the names of the columns, and the rows.

    Cells that a row lacks are None; surplus cells stand under the key None. Raises UsageError for a file that is too
    large, or no CSV in UTF-8.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= LARGEST else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if text is None:
        raise UsageError(f"{path} has {size} bytes: at most {LARGEST}")
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        return frozenset(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise UsageError(f"{path} is not CSV: {error}") from error
