"""A table of edits: a CSV file with the columns `input` and `prompt`, and perhaps `source`."""

import csv
from collections.abc import Mapping
from pathlib import Path

from fastdiff.apps.edit.options import LONGEST_PROMPT
from fastdiff.apps.edit.wish import Wish
from fastdiff.solvers.errors import UsageError

LARGEST = 10_000_000  # bytes
MOST_ROWS = 10_000
COLUMNS = {"input", "prompt", "source"}


def read(path: Path) -> list[tuple[Path, Wish]]:
    """The pictures and what is wished for, row by row; relative names are beside the table.

    Raises UsageError for a file that is too large, is no UTF-8 CSV, lacks or has other columns, or has empty cells.
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
        columns, rows = set(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise UsageError(f"{path} is not CSV: {error}") from error
    if not {"input", "prompt"} <= columns <= COLUMNS:
        given = ", ".join(map(str, sorted(columns))) or "none"
        raise UsageError(f"{path} has the columns {given}: input and prompt are needed, source may be")
    if not 0 < len(rows) <= MOST_ROWS:
        raise UsageError(f"{path} has {len(rows)} edits: from 1 to {MOST_ROWS}")
    return [(path.parent / row["input"], _wish(path, number, row)) for number, row in enumerate(rows, 2)]


def _wish(path: Path, number: int, row: Mapping[str, str | None]) -> Wish:
    if not row["input"] or not row["prompt"] or None in row.values():
        raise UsageError(f"line {number} of {path}: give an input and a prompt")
    if max(len(row["prompt"]), len(row.get("source") or "")) > LONGEST_PROMPT:
        raise UsageError(f"line {number} of {path}: a prompt has at most {LONGEST_PROMPT} characters")
    return Wish(row["prompt"], row.get("source") or None)
