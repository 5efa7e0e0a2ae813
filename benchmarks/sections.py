"""The run of a benchmark, section by section: prints and stores each as soon as it is measured."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.result import Section


def run(
    names: Sequence[str],
    measure: Callable[[str], Section],
    target: Path | None,
    also: Callable[[str, Section], None] = lambda name, section: None,
) -> None:
    """Print the tables of every section and, after each, write all numbers so far to the JSON file `target`.

    `also` gets every section, to save its pictures.
    """
    numbers: dict[str, Any] = {}
    for name in names:
        section = measure(name)
        print(*(f"\n{table}" for table in section.tables), sep="\n", flush=True)
        numbers[name] = {"tables": [asdict(table) for table in section.tables], "pages": section.pages}
        if target:  # after every section: the whole may take an hour or more
            target.write_text(json.dumps(numbers, indent=1))
        also(name, section)
