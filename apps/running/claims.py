"""Chooses the files of a run before it starts: no two outputs meet, and files of others stay."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastdiff.apps.running.folder_manifest import Manifest
from fastdiff.apps.running.inputs import LONGEST_NAME, Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.solvers.errors import OutputError, UsageError

MOST_NUMBERS = 100_000  # of one name


@dataclass(frozen=True)
class OutputRequest:
    """A request for an output: the item with its preferred output, and the digest of the request.

    `files` returns all files of an output at a given path. `named` is True if a person named this very file: no other
    is taken.
    """

    item: Item
    request: str
    files: Callable[[Path], Sequence[Path]] = lambda path: (path,)
    named: bool = False


class Claims:
    """Claims files for every output of a run.

    A file is free if it does not exist, if it is the run's own earlier result (made for the same request, unchanged
    since), or with `force`. A file is never free if it is claimed already or is one of `reads`, the files that the run
    reads, by whatever name, link or spelling.
    """

    def __init__(self, reads: Iterable[Path], *, force: bool) -> None:
        reads = [path for path in reads if os.path.exists(path)]
        self._force = force
        self._reads = {_identity(path) for path in reads}
        self._spellings = set(map(_folded, reads))
        self._taken: set[str] = set()
        self._manifest = functools.cache(Manifest.read)

    def claim_all(self, wanted: Sequence[OutputRequest]) -> tuple[Item, ...]:
        """Return the items in order, with their outputs; items with earlier results choose first."""
        claimed: dict[int, Item] = {}
        for number, each in sorted(enumerate(wanted), key=lambda pair: not self._earlier(pair[1])):
            claimed[number] = each.item if each.item.problem else self.claim(each)
        return tuple(claimed[number] for number in range(len(wanted)))

    def claim(self, wanted: OutputRequest) -> Item:
        """Return the item with an output of its own: its earlier result, its preferred path, or this path with a
        number.

        The item has a problem if the name of its output would be too long. Raises UsageError for a named file that the
        run reads or writes otherwise, OutputError for a named file that may not be replaced.
        """
        for path in self._candidates(wanted):
            files = tuple(wanted.files(path))
            if problem := _too_long(files):
                return replace(wanted.item, problem=problem)
            if all(self._is_free(file, path, wanted) for file in files):
                self._taken |= set(map(_folded, files))
                return replace(wanted.item, output=path, outputs=files, request=wanted.request)
            if wanted.named:
                self._refuse(files, path, wanted)
        raise OutputError(f"{wanted.item.output} and {MOST_NUMBERS} numbers of it are taken: name another output")

    def _earlier(self, wanted: OutputRequest) -> list[Path]:
        """Return outputs that earlier runs made for the same request."""
        folder = wanted.item.output.parent
        return [folder / name for name in self._manifest(folder).made_for(wanted.request)]

    def _candidates(self, wanted: OutputRequest) -> Iterator[Path]:
        preferred = wanted.item.output
        if wanted.named:
            yield preferred
            return
        earlier = self._earlier(wanted)
        yield from sorted(earlier, key=lambda path: path != preferred)
        yield preferred
        for number in range(2, MOST_NUMBERS):
            yield preferred.with_name(f"{preferred.stem}-{number}{preferred.suffix}")

    def _is_free(self, file: Path, output: Path, wanted: OutputRequest) -> bool:
        if self._is_read(file) or _folded(file) in self._taken or os.path.isdir(file):
            return False
        return not os.path.lexists(file) or self._force or _output_manifest(output, wanted).owns(file)

    def _is_read(self, file: Path) -> bool:
        return _folded(file) in self._spellings or (os.path.exists(file) and _identity(file) in self._reads)

    def _refuse(self, files: Iterable[Path], output: Path, wanted: OutputRequest) -> None:
        for file in files:
            if self._is_read(file):
                raise UsageError(f"{file} is an input of this run: name another output")
            if _folded(file) in self._taken:
                raise UsageError(f"{file} is named for two outputs of this run: name another")
            if os.path.isdir(file):
                raise UsageError(f"{file} is a folder: name a file")
            _output_manifest(output, wanted).check([file])


def _output_manifest(output: Path, wanted: OutputRequest) -> OutputManifest:
    return OutputManifest(output, wanted.item.source, "", wanted.request)


def _too_long(files: Iterable[Path]) -> str | None:
    for file in files:
        if (length := len(os.fsencode(file.name))) > LONGEST_NAME:
            return f"the output's name {file.name} has {length} bytes, at most {LONGEST_NAME}: name another output"
    return None


def _identity(path: Path) -> tuple[int, int]:
    """Return the identity of a file, the same for all its names and links."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _folded(path: Path) -> str:
    """Return one spelling for paths that some file systems treat as the same."""
    return os.path.join(os.path.realpath(path.parent), path.name).casefold()
