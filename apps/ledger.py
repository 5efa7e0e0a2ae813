"""What a run has finished, kept beside its outputs, so that a run killed at any moment goes on where it stopped.

For an output `OUT/NAME` the folder `OUT/.fastdiff` holds `NAME.json`, the entry of the finished output, and, while
the output is being made, the folder `NAME.parts` of its finished parts (the pages of a document). Every file is
written atomically, the entry before the outputs it describes, so that the two disagree only for outputs to be redone.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiff.apps import atomic
from fastdiff.solvers.errors import OutputError, UsageError

FOLDER = ".fastdiff"


def digest(*parts: object) -> str:
    """SHA-256, in hexadecimal, of the given values in order."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256, in hexadecimal, of a file's bytes; UsageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def made_in(folder: Path) -> frozenset[str]:
    """Names of the files in `folder` that entries call outputs of earlier runs."""
    entries = (_read(path) for path in (folder / FOLDER).glob("*.json"))
    return frozenset(name for entry in entries for name in entry.get("outputs", {}))


@dataclass(frozen=True)
class Ledger:
    """The state of one output.

    `key` is a digest of everything that determines the result (input, options, version): an entry or part made under
    another key counts as absent. `source` is the input, which alone may replace its earlier output without force.
    """

    output: Path
    source: Path
    key: str

    def finished(self) -> list[dict[str, Any]] | None:
        """The records of the finished output, or None where it has to be made (again)."""
        entry = _read(self._entry)
        if entry.get("key") != self.key:
            return None
        whole = all(_digest_if_file(self._sibling(name)) == made for name, made in entry["outputs"].items())
        return entry["records"] if whole else None

    def open(self, outputs: Sequence[Path], *, force: bool) -> None:
        """Make room for parts, and refuse to replace files that are not this input's earlier outputs.

        Raises OutputError for such a file unless `force`, and where the folder cannot be written.
        """
        entry = _read(self._entry)
        ours = entry.get("source") == str(self.source.resolve())
        for path in outputs:
            if path.exists() and path.samefile(self.source):
                raise OutputError(f"{path} is the input itself: name another output")
            made = (entry.get("outputs", {}).get(path.name), entry.get("replaces", {}).get(path.name))
            if path.exists() and not force and not (ours and _digest_if_file(path) in made):
                raise OutputError(f"{path} exists and is not an earlier result of {self.source.name}: give --force")
        key = self._parts / "key"
        with atomic.writing(self.output):
            if force or not key.exists() or key.read_text(encoding="utf-8") != self.key:
                shutil.rmtree(self._parts, ignore_errors=True)
            self._parts.mkdir(parents=True, exist_ok=True)  # here, where what fails is told of the output
        atomic.write_text(key, self.key)

    def part(self, index: int) -> Path:
        """Where the file of part `index` is kept until the output is put together; it may be absent."""
        return self._parts / f"{index:05d}"

    def record(self, index: int) -> dict[str, Any] | None:
        """The record of part `index` if it is finished."""
        return _read(self._parts / f"{index:05d}.json") or None

    def keep(self, index: int, record: Mapping[str, Any]) -> None:
        """Note that part `index`, whose file is already in place, is finished."""
        atomic.write_text(self._parts / f"{index:05d}.json", json.dumps(record))

    def publish(self, drafts: Mapping[Path, Path], records: Sequence[Mapping[str, Any]], *, final: bool) -> None:
        """Move drafts (output -> draft) into place. The parts go too if `final`; otherwise the next run redoes some."""
        entry = {
            "key": self.key if final else None,
            "source": str(self.source.resolve()),
            "outputs": {target.name: file_digest(path) for target, path in drafts.items()},
            "replaces": {target.name: _digest_if_file(target) for target in drafts},
            "records": list(records),
        }
        atomic.write_text(self._entry, json.dumps(entry, indent=1))
        for target, path in drafts.items():
            atomic.publish(path, target)
        if final:
            shutil.rmtree(self._parts, ignore_errors=True)

    @property
    def _entry(self) -> Path:
        return self._sibling(FOLDER) / f"{self.output.name}.json"

    @property
    def _parts(self) -> Path:
        return self._sibling(FOLDER) / f"{self.output.name}.parts"

    def _sibling(self, name: str) -> Path:
        return self.output.parent / name


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one for a file that is absent or was damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_if_file(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None
