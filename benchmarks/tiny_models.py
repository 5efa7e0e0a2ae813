"""The families of the tests that are small enough to measure without weights: real networks, random numbers."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"


def tiny(family: str) -> Any:
    """Return the module of the tests whose `write` makes the folder of a family, such as "sana"."""
    if str(TESTS) not in sys.path:  # its modules import each other by their bare names
        sys.path.append(str(TESTS))
    return import_module(f"tiny_{family}")
