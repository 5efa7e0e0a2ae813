"""Files of downloaded models against the digests by which the hub's cache names them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastdiff.solvers.errors import UsageError

SHA256, GIT = 64, 40  # lengths of the names of files in the cache: large ones, small ones


@dataclass(frozen=True)
class Verification:
    """The files of a model folder; `damaged` are those whose contents differ from their digest."""

    sound: tuple[Path, ...]
    damaged: tuple[Path, ...]
    unnamed: tuple[Path, ...]  # that no digest names
    missing: tuple[Path, ...]  # links to files that are gone


def verify(folder: Path) -> Verification:
    """Read all files of a folder of the hub's cache and compare them with their digests.

    Raises UsageError for a folder without digests, such as one of one's own, and for a file that cannot be read.
    """
    found: dict[bool | None, list[Path]] = {True: [], False: [], None: []}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found[_matches(path)].append(path)
    missing = tuple(sorted(path for path in folder.rglob("*") if path.is_symlink() and not path.exists()))
    if not found[True] and not found[False] and not missing:
        raise UsageError(f"{folder} has no digests to compare its files with: only downloads from the hub have them")
    return Verification(tuple(found[True]), tuple(found[False]), tuple(found[None]), missing)


def _matches(path: Path) -> bool | None:
    """Return whether the contents are those of the digest in the name of the file behind a link; None without one."""
    name = path.resolve().name if path.is_symlink() else ""
    if len(name) not in (SHA256, GIT) or set(name) - set("0123456789abcdef"):
        return None
    try:
        with path.open("rb") as file:
            if len(name) == SHA256:
                return hashlib.file_digest(file, "sha256").hexdigest() == name
            content = file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == name  # as git names a file
