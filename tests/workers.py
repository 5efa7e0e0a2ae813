"""Workers for the tests of the batch loop; a module of its own so that worker processes can import it."""

import os

from fastdiff.apps.running.batch import Tick, Work
from fastdiff.apps.running.inputs import Item
from fastdiff.solvers.errors import MissingError, OutputError, UsageError


def setup(prefix: str) -> Work:
    """A worker that answers with `prefix` and the input's name, and fails as the name asks."""

    def work(item: Item, tick: Tick) -> str:
        name = item.source.name
        if name == "usage":
            raise UsageError("a sentence")
        if name == "output":
            raise OutputError("no room")
        if name == "bug":
            raise ZeroDivisionError("a bug")
        if name == "death":
            os._exit(1)
        if name == "interrupt":
            raise KeyboardInterrupt
        tick(0.5)
        return prefix + name

    return work


def setup_missing(prefix: str) -> Work:
    """A worker whose weights are absent."""
    raise MissingError(f"{prefix} is not installed")
