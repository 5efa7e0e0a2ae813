"""A per-user cache of the digests of large files.

An entry is trusted while the file's size, times of change, inode and device are those of the hashing. The cache only
saves time: entries that are damaged count as absent, and where it cannot be written nothing is cached. An entry is a
file of its own, written beside its place and renamed, so that concurrent runs do not disturb each other.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RACY = 2.0  # seconds; a later change could leave the times as they are, which some file systems round this far
DIGEST = re.compile("[0-9a-f]{64}")


def folder() -> Path:
    """`$XDG_CACHE_HOME/fastdiff/digests`, by default below `~/.cache`, where the caches of torch and the hub are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastdiff" / "digests"


def cached(path: Path, compute: Callable[[Path], str]) -> str:
    """The digest of a file, from its entry or by `compute`. Raises OSError as `compute` does.

    A file that changes while it is hashed, or did less than RACY seconds before, is not cached.
    """
    path = path.resolve()
    try:
        entry = folder() / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
    except RuntimeError:  # no home folder
        return compute(path)
    began, state = time.time(), _state(path)
    if (known := _read(entry, state)) is not None:
        return known
    digest = compute(path)
    settled = max(state["mtime_ns"], state["ctime_ns"]) < (began - RACY) * 1e9
    if settled and _state(path) == state:
        with contextlib.suppress(OSError):
            _write(entry, json.dumps(state | {"sha256": digest}))
    return digest


def _state(path: Path) -> dict[str, int]:
    """Return the file attributes that change with its contents, unless somebody hides the change."""
    stat = path.stat()
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
        "device": stat.st_dev,
    }


def _read(entry: Path, state: dict[str, int]) -> str | None:
    """The digest in the entry, where it is whole and of this state."""
    try:
        content = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    digest = content.pop("sha256", None) if isinstance(content, dict) else None
    whole = content == state and isinstance(digest, str) and DIGEST.fullmatch(digest)
    return digest if whole else None


def _write(entry: Path, text: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=entry.parent, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, entry)
    except OSError:
        os.unlink(draft)
        raise
