"""JSON files of strangers: limited in size, with one sentence for whatever is wrong with them."""

import json
from pathlib import Path
from typing import Any

from fastdiff.solvers.errors import UsageError

LARGEST = 1_000_000  # bytes


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file. Raises UsageError where it is missing, too large, or something else."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST:
        raise UsageError(f"{path} is too large: it may have at most {LARGEST} bytes")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds a {type(value).__name__}: a JSON object is needed")
    return value
