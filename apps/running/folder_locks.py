"""Locks the folders that a run writes into: two runs never write into one place at a time."""

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from fastdiff.apps.running.output_manifest import FOLDER, remove_leftovers
from fastdiff.solvers.errors import OutputError

NAME = "lock"  # in FOLDER
ATTEMPTS = 20  # while other runs end and remove their empty folders


class FolderLocks:
    """A context manager that holds the locks of folders until the end of its block.

    The operating system releases a lock when its process ends. The end of the block removes the lock files, and folders
    that were made for them and are empty.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._held: set[Path] = set()

    def __enter__(self) -> "FolderLocks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, folders: Iterable[Path]) -> bool:
        """Lock folders that are not held yet, and remove drafts that a killed run left there; False if all are held.

        Raises OutputError if another run holds one, or one cannot be written or locked.
        """
        new = sorted({folder.resolve() for folder in folders} - self._held)
        for folder in new:
            self._lock(folder)
            self._held.add(folder)
            remove_leftovers(folder / FOLDER)
        return bool(new)

    def _lock(self, folder: Path) -> None:
        inner = folder / FOLDER
        for attempt in range(1, ATTEMPTS + 1):
            self._stack.callback(_remove_empty, [inner, *(each for each in inner.parents if not each.exists())])
            lock = FileLock(inner / NAME, timeout=0, fallback_to_soft=False)
            try:
                inner.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                raise OutputError(
                    f"another fastdiff run is writing into {folder}: wait for it, or name another output"
                ) from None
            except FileNotFoundError as error:
                if attempt == ATTEMPTS:
                    raise OutputError(f"cannot write into {folder}: {error.strerror}") from error
                continue
            except OSError as error:
                raise OutputError(f"cannot write into {folder}, or lock it: {error.strerror or error}") from error
            self._stack.callback(_release, lock, inner / NAME)
            return


def _release(lock: FileLock, path: Path) -> None:
    """Remove the lock file while it is held: a waiting process sees that its file has no name any more."""
    if sys.platform != "win32":  # there an open file cannot be removed
        path.unlink(missing_ok=True)
    lock.release()


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove empty folders, from the innermost outwards, up to the first that is not empty."""
    with suppress(OSError):
        for folder in folders:
            os.rmdir(folder)
