"""SHA-256 of files and of model folders, by their contents.

Models are gigabytes, so the digests of large files are cached (`fastdiff.models.digest_cache`).
"""

import hashlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from fastdiff.models import digest_cache
from fastdiff.models.diffusers_folder import PICKLES, SAFETY_CHECKER, read_folder
from fastdiff.solvers.errors import UsageError

CACHED_FROM = 2**20  # bytes; hashing a smaller file takes milliseconds
NEVER_LOADED = (*PICKLES, "*.md", "*.fp16.*", "*.non_ema.*")  # names of files that no loader of fastdiff reads


def of_file(path: Path) -> str:
    """SHA-256, in hexadecimal, of a file's bytes. Raises UsageError where it cannot be read."""
    try:
        if path.stat().st_size < CACHED_FROM:
            return _hash(path)
        return digest_cache.cached(path, _hash)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def of_files(files: Iterable[Path], root: Path) -> str:
    """SHA-256, in hexadecimal, of the names below `root` and the contents of files; their order does not matter.

    Raises UsageError for a file that cannot be read.
    """
    total = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        total.update(f"{name}\0{of_file(path)}\n".encode())
    return total.hexdigest()


def of_model(folder: Path) -> str:
    """The digest of the files that a model folder can be loaded from; links, as in the hub's cache, are followed.

    A folder in the layout of diffusers counts with its index and the folders of the parts that the index lists, any
    other folder as a whole. Hidden files and NEVER_LOADED are left out. Raises UsageError for a file that cannot be
    read.
    """
    return of_files(_loaded(folder), folder)


def _loaded(folder: Path) -> Iterator[Path]:
    roots = [folder]
    if (index := folder / "model_index.json").is_file():
        yield index
        listed = {"scheduler", *read_folder(folder).parts} - {SAFETY_CHECKER}
        roots = [each for each in folder.iterdir() if each.name in listed]
    for root in roots:
        for path in root.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.is_file() and not hidden and not any(fnmatch(path.name, pattern) for pattern in NEVER_LOADED):
                yield path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
