"""A table of edits: a CSV file with the columns `input` and `prompt`, and perhaps `source`."""

from collections.abc import Mapping
from pathlib import Path

from fastdiff.apps.csv_file import read_rows
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.options import LONGEST_PROMPT
from fastdiff.solvers.errors import UsageError

MOST_ROWS = 10_000
COLUMNS = {"input", "prompt", "source"}


def read(path: Path) -> list[tuple[Path, EditRequest]]:
    """Read the pictures and their requests, row by row; relative paths start at the table's folder.

    Raises UsageError for a file that is too large, is no UTF-8 CSV, lacks or has other columns, or has empty cells or
    too many.
    """
    columns, rows = read_rows(path)
    if not {"input", "prompt"} <= columns <= COLUMNS:
        given = ", ".join(map(str, sorted(columns))) or "none"
        raise UsageError(f"{path} has the columns {given}: input and prompt are needed, source may be")
    if not 0 < len(rows) <= MOST_ROWS:
        raise UsageError(f"{path} has {len(rows)} edits: from 1 to {MOST_ROWS}")
    return [_edit(path, number, row) for number, row in rows.items()]


def _edit(path: Path, number: int, row: Mapping[str, str | None]) -> tuple[Path, EditRequest]:
    picture, prompt, source = (
        row["input"] or "",
        *(" ".join((row.get(name) or "").split()) for name in ("prompt", "source")),
    )
    if None in row:
        raise UsageError(f"line {number} of {path} has too many cells: put a prompt with commas in quotes")
    if not Path(picture).name or not prompt or None in row.values():
        raise UsageError(f"line {number} of {path}: give an input and a prompt")
    if max(len(prompt), len(source)) > LONGEST_PROMPT:
        raise UsageError(f"line {number} of {path}: a prompt has at most {LONGEST_PROMPT} characters")
    return path.parent / picture, EditRequest(prompt, source or None)
