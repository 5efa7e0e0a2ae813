"""The manifest entry of one output: its request and key, the digests of its files, and its finished parts.

For an output `OUT/NAME` the folder `OUT/.fastdiff` holds `HASH.json`, the entry of the output. While the output is
being made, it also holds the folder `HASH.parts` of its finished parts (the pages of a document) and drafts of its
files. HASH is the digest of NAME, so that names of any length fit. Every file is written atomically, the entry before
the files it describes: the two disagree only for outputs to be redone.

An entry holds two digests. The request covers the person's command: options and place of the input. The key covers
everything that the result depends on, also the content of the input, the weights and the version. Without force, a run
replaces a file only if its entry was made for the same request and the file still has the recorded digest. Entries of
versions that recorded no request count as those of other requests: their files are known to be results, and are never
replaced without force.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastdiff.apps.running import atomic
from fastdiff.solvers.errors import OutputError, UsageError

FOLDER = ".fastdiff"
FAILED = "failed"  # the folder, beside an output, of files that missed its aim
DRAFT = "draft-"  # prefix of the names of drafts in FOLDER


def digest(*parts: object) -> str:
    """Return the SHA-256, in hexadecimal, of the given values in order."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256, in hexadecimal, of a file's bytes. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


@dataclass(frozen=True)
class Entry:
    """The manifest entry of one output; names are relative to its folder.

    `key` is None if the output has to be made again. `outputs` maps the names of its files to their digests, `replaces`
    to the digests of former files in their places. `surplus` maps earlier files of the output that it no longer has.
    The files of a `provisional` entry make room for those of any request.
    """

    output: str = ""
    request: str = ""
    key: str | None = None
    source: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    replaces: Mapping[str, str | None] = field(default_factory=dict)
    surplus: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[dict[str, Any]] = ()
    provisional: bool = False

    def knows(self, name: str, made: str | None) -> bool:
        """True if the entry lists a file of this name and digest."""
        return made is not None and made in (self.outputs.get(name), self.replaces.get(name), self.surplus.get(name))


def read_entry(path: Path) -> Entry:
    """Read the entry in a file; an absent, damaged or unknown file gives an empty entry."""
    value = _read(path)
    tables = [value.get(name, {}) for name in ("outputs", "replaces", "surplus")]
    records = value.get("records", [])
    if not all(isinstance(table, dict) for table in tables) or not isinstance(records, list):
        return Entry()
    names = {name: value[name] for name in ("output", "request", "key", "source") if isinstance(value.get(name), str)}
    provisional = value.get("provisional") is True
    return Entry(
        **names, outputs=tables[0], replaces=tables[1], surplus=tables[2], records=records, provisional=provisional
    )


def remove_leftovers(folder: Path) -> None:
    """Remove drafts, and parts of finished outputs, that killed runs left in a manifest.

    No other run may write into the manifest meanwhile.
    """
    with suppress(OSError):
        for pattern in (f"{DRAFT}*", ".*.part"):
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)
        for parts in folder.glob("*.parts"):
            key = parts / "key"
            if not key.exists() or key.read_text(encoding="utf-8") == read_entry(parts.with_suffix(".json")).key:
                shutil.rmtree(parts, ignore_errors=True)


@dataclass(frozen=True)
class OutputManifest:
    """The state of one output.

    `key` and `request` are the digests that the module describes: an entry or part made under another key counts as
    absent, and files made for another request are replaced only with `force`. `source` is the input.
    """

    output: Path
    source: Path
    key: str
    request: str
    force: bool = False

    def finished(self) -> list[dict[str, Any]] | None:
        """Return the records of the finished output; None if it has to be made (again)."""
        entry = self._entry()
        if entry.key != self.key or entry.request != self.request:
            return None
        whole = all(_digest_if_file(self._file(name)) == made for name, made in entry.outputs.items())
        return list(entry.records) if whole and not any(map(os.path.lexists, self._surplus(entry))) else None

    def owns(self, path: Path) -> bool:
        """True if an earlier run wrote the file, for the same request or provisionally, and nobody changed it."""
        entry = self._entry()
        replaceable = entry.provisional or entry.request == self.request
        return replaceable and entry.knows(self._name(path), _digest_if_file(path))

    def check(self, outputs: Iterable[Path]) -> None:
        """Raise OutputError for a file that is the input, or that exists and may not be replaced."""
        for path in outputs:
            if os.path.exists(path) and os.path.exists(self.source) and path.samefile(self.source):
                raise OutputError(f"{path} is the input itself: name another output")
            if os.path.lexists(path) and not self.force and not self.owns(path):
                raise OutputError(f"{path} exists and is no earlier result of the same command: give --force")

    def open(self, outputs: Sequence[Path]) -> None:
        """Make room for parts; remove parts of another key, and with `force` all.

        Raises OutputError as `check` does, and if the folder cannot be written.
        """
        self.check(outputs)
        key = self._parts / "key"
        with atomic.writing(self.output):
            if self.force or not key.exists() or key.read_text(encoding="utf-8") != self.key:
                shutil.rmtree(self._parts, ignore_errors=True)
            self._parts.mkdir(parents=True, exist_ok=True)
        atomic.write_text(key, self.key)

    def part(self, index: int) -> Path:
        """Return the path of part `index`, which is kept until the output is assembled and may be absent."""
        return self._parts / f"{index:05d}"

    def record(self, index: int) -> dict[str, Any] | None:
        """Return the record of part `index` if it is finished."""
        return _read(self._parts / f"{index:05d}.json") or None

    def keep(self, index: int, record: Mapping[str, Any]) -> None:
        """Record that part `index`, whose file is in place, is finished."""
        atomic.write_text(self._parts / f"{index:05d}.json", json.dumps(record))

    @contextmanager
    def drafts(self, outputs: Iterable[Path]) -> Iterator[dict[Path, Path]]:
        """Yield a draft for each output, for `publish` to move into place; remove drafts that are left over.

        Raises OutputError for files that the operating system cannot write inside the block.
        """
        folder = self._file(FOLDER)
        drafts = {target: folder / f"{DRAFT}{secrets.token_hex(16)}" for target in outputs}
        try:
            with atomic.writing(self.output):
                folder.mkdir(parents=True, exist_ok=True)
                yield drafts
        finally:
            for path in drafts.values():
                path.unlink(missing_ok=True)

    def publish(
        self,
        drafts: Mapping[Path, Path],
        records: Sequence[Mapping[str, Any]],
        *,
        final: bool,
        provisional: bool = False,
    ) -> None:
        """Move drafts (output -> draft) into place, and remove files of the output that it no longer has.

        Also removes the parts if `final`; otherwise the next run redoes some. A run for any request may replace
        `provisional` files. Raises OutputError as `check` does.
        """
        self.check(drafts)
        before = self._entry()
        outputs = {self._name(target): file_digest(path) for target, path in drafts.items()}
        earlier = {**before.surplus, **before.outputs} if before.request == self.request else {}
        entry = Entry(
            output=self.output.name,
            request=self.request,
            key=self.key if final else None,
            source=str(self.source.resolve()),
            outputs=outputs,
            replaces={self._name(target): _digest_if_file(target) for target in drafts},
            surplus={name: made for name, made in earlier.items() if name not in outputs},
            records=[dict(record) for record in records],
            provisional=provisional,
        )
        atomic.write_text(self._entry_path, json.dumps(asdict(entry), indent=1))
        for target, path in drafts.items():
            with atomic.writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            atomic.publish(path, target)
        for path in self._surplus(entry):
            with atomic.writing(path):
                path.unlink(missing_ok=True)
        if final:
            shutil.rmtree(self._parts, ignore_errors=True)

    def _entry(self) -> Entry:
        return read_entry(self._entry_path)

    def _surplus(self, entry: Entry) -> list[Path]:
        """Return unchanged files that the output no longer has."""
        return [path for name, made in entry.surplus.items() if _digest_if_file(path := self._file(name)) == made]

    @property
    def _entry_path(self) -> Path:
        return self._file(FOLDER) / f"{self._hash}.json"

    @property
    def _parts(self) -> Path:
        return self._file(FOLDER) / f"{self._hash}.parts"

    @property
    def _hash(self) -> str:
        return digest(self.output.name)[:32]

    def _file(self, name: str) -> Path:
        return self.output.parent / name

    def _name(self, path: Path) -> str:
        return path.relative_to(self.output.parent).as_posix()


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if the file is absent or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_if_file(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None
