"""The manifest of one folder: its files that are results of earlier runs, with their requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastdiff.apps.running.output_manifest import FOLDER, Entry, file_digest, read_entry
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class Manifest:
    """The entries of earlier runs on the files of a folder."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a folder; damaged entries are empty."""
        return cls(tuple(map(read_entry, sorted((folder / FOLDER).glob("*.json")))))

    def holds(self, path: Path, name: str | None = None) -> bool:
        """True if a file of this folder is an unchanged result of an earlier run.

        Name and content identify a result: a changed file, or one that only has the name of a result, is none.
        `name` is the one in the manifest, for a file of a sub-folder.
        """
        name = name or path.name
        entries = self._by_name.get(name)
        if not entries:
            return False
        try:
            made = file_digest(path)
        except UsageError:
            return False
        return any(entry.knows(name, made) for entry in entries)

    def made_for(self, request: str) -> tuple[str, ...]:
        """Return the names of outputs made for a request, the shortest first."""
        return self._by_request.get(request, ())

    @cached_property
    def _by_name(self) -> Mapping[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for name in {*entry.outputs, *entry.replaces, *entry.surplus}:
                found.setdefault(name, []).append(entry)
        return found

    @cached_property
    def _by_request(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry.output and entry.request:
                found.setdefault(entry.request, []).append(entry.output)
        return {request: tuple(sorted(names, key=lambda name: (len(name), name))) for request, names in found.items()}
