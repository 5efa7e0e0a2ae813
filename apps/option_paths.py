"""Paths in the options of applications, which Python code may give as text."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any


def take_paths(options: Any) -> None:
    """Replace text in the fields of type Path of a frozen dataclass by paths, and its `inputs` by a tuple of text.

    `inputs` may be one path or pattern, or several of them.
    """
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name == "inputs":
            names = [value] if isinstance(value, str | os.PathLike) else value
            object.__setattr__(options, "inputs", tuple(map(os.fspath, names)))
        elif isinstance(value, str) and each.type in (Path, Path | None):
            object.__setattr__(options, each.name, Path(value))
