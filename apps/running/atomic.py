"""Writes files that are either whole or absent: under a hidden name beside their place, then renamed."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastdiff.solvers.errors import OutputError


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Yield an unused hidden path in the folder of `target`, for a file that `publish` moves into place.

    The name of the path is short, whatever the length of the target's name. A file left at the path after the block is
    removed, as are drafts of `target` that a killed run left. Raises OutputError if the folder cannot be made or
    written, or the disk is full.
    """
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for leftover in target.parent.glob(f".{mark}.????????.part"):
            leftover.unlink(missing_ok=True)
    path = target.with_name(f".{mark}.{secrets.token_hex(4)}.part")
    try:
        with writing(target):
            yield path
    finally:
        path.unlink(missing_ok=True)


def publish(path: Path, target: Path) -> None:
    """Move the finished file `path` onto `target` on the same file system: a crash leaves the old or the new file."""
    with writing(target):
        _sync(path)
        os.replace(path, target)
        if os.name == "posix":  # elsewhere a folder cannot be opened, and a rename is durable
            _sync(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` in UTF-8, whole or not at all. Raises OutputError if that fails."""
    with draft(target) as path:
        path.write_text(text, encoding="utf-8")
        publish(path, target)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn errors of the operating system inside the block into one sentence about `target`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
