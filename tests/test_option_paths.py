"""Paths in the options of applications: Python code may give them as text."""

from pathlib import Path
from typing import Any

import pytest

from fastdiff.apps.attack.options import Options as AttackOptions
from fastdiff.apps.docclean.options import Options as CleanOptions
from fastdiff.apps.edit.options import Options as EditOptions
from fastdiff.solvers.errors import UsageError

NEEDED: dict[Any, dict[str, Any]] = {
    CleanOptions: {"weights": "nets"},
    EditOptions: {"prompt": "a cat", "mask": "mask.png"},
    AttackOptions: {"labels": "labels.csv"},
}


@pytest.mark.parametrize("options", NEEDED, ids=lambda options: options.__module__.split(".")[-2])
def test_text_is_taken_for_paths_and_one_input_for_several(options: Any) -> None:
    needed = NEEDED[options]
    paths = {name: Path(value) for name, value in needed.items() if name != "prompt"}
    whole = options(inputs=("scans",), out=Path("new/out"), report=Path("report.json"), **needed | paths)
    for inputs in ("scans", Path("scans"), ["scans"], (Path("scans"),)):
        text = options(inputs=inputs, out="new/out", report="report.json", **needed)
        assert text == whole and hash(text) == hash(whole)
        assert all(getattr(text, name) == path for name, path in paths.items())
    with pytest.raises(UsageError):
        options(inputs=(), **needed)
