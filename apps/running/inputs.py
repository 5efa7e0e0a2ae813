"""Finds the inputs of a run by the names that a person gives (files, folders, patterns), and names their outputs."""

import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastdiff.apps.running import output_manifest
from fastdiff.apps.running.folder_manifest import Manifest
from fastdiff.apps.running.output_manifest import FAILED
from fastdiff.solvers.errors import UsageError

LONGEST_NAME = 255  # bytes
OTHER_KIND, HIDDEN, RESULT, NAMED_RESULT, SUB_FOLDER, LINKED_FOLDER, OUTPUT_FOLDER, NO_FILE, SAME_FILE = (
    "another kind of file",
    "hidden",
    "an earlier result",
    "an earlier result among several inputs (give it alone)",
    "a sub-folder (give -r)",
    "a linked folder",
    "the folder of the outputs",
    "not a file",
    "another name of an input",
)


@dataclass(frozen=True)
class Item:
    """One input file and the file for its result.

    `problem` is one sentence if the input is known to be unusable before it is opened. Items with claimed files (see
    `running.claims`) have all `outputs`, and the digest of the `request`.
    """

    source: Path
    output: Path
    problem: str | None = None
    outputs: tuple[Path, ...] = ()
    request: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was found and is no input, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The items of one run in a fixed order, with their preferred outputs, of which two may be the same.

    `named` is True if a person named the very file of the output. `folder` is that of the report; None puts the report
    beside the first output.
    """

    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    named: bool
    folder: Path | None


def plan(
    inputs: Sequence[str],
    *,
    verb: str,
    suffixes: Mapping[str, str],
    out: Path | None = None,
    suffix: str | None = None,
    replaced: Mapping[str, str] | None = None,
    recursive: bool = False,
) -> Plan:
    """Find the inputs and name their outputs.

    An input is a file, a folder (with `recursive` also its sub-folders) or a glob pattern. Outputs go to `INPUT-verb`
    beside the input, or to `out`: a file if the only input is a file and `out` ends in a known suffix, else a folder.
    Folders keep their tree. `suffix` (such as ".pdf") replaces suffixes of another kind; without it, `replaced` maps
    suffixes of kinds that are only read to those to write. `suffixes` maps the known lower-case suffixes to kinds.

    Hidden files, files of other suffixes and unchanged results of earlier runs are left out of folders and patterns,
    with the reason; such results are left out of several files given by name, too.

    Raises UsageError for a name that does not exist, for an `out` that does not fit or is the place of an input, or if
    no input is left.
    """
    if not all(inputs):
        raise UsageError("an empty name: give a file, a folder or a pattern")
    one_file = _names_file(out, suffixes)
    if one_file and (len(inputs) > 1 or not os.path.isfile(inputs[0])):
        raise UsageError(f"{out} names one file for several inputs: give a folder")
    search = _Search(verb, suffixes, out, recursive, functools.cache(Manifest.read))
    found = [each for text in inputs for each in search.expand(text, alone=len(inputs) == 1)]
    items = [each for each in found if isinstance(each, Item)]
    left_out = tuple(dict.fromkeys(each for each in found if isinstance(each, LeftOut))) + _other_names(items)
    if not items:
        known = ", ".join(sorted(suffixes))
        raise UsageError(
            f"nothing to do in {', '.join(inputs)}: no file of {known} but hidden ones or earlier results"
            + (f"; {summary(left_out)}" if left_out else "")
        )
    first = Path(inputs[0])
    folder = default_output(first, verb) if first.is_dir() else None
    placed = _placed(items, suffixes, out, suffix, replaced or {})
    return Plan(placed, left_out, one_file, folder if out is None or one_file else out)


def listed(
    files: Sequence[Path], *, verb: str, suffixes: Mapping[str, str], out: Path | None = None, suffix: str | None = None
) -> Plan:
    """Plan files that are named one by one: all are items, and an unusable name is the problem of its item alone.

    Raises UsageError for an `out` that does not fit or is the place of an input.
    """
    one_file = _names_file(out, suffixes)
    if one_file and len({path.resolve() for path in files}) > 1:
        raise UsageError(f"{out} names one file for several inputs: give a folder")
    search = _Search(verb, suffixes, out, False, Manifest.read)
    items = _placed(list(map(search.named, files)), suffixes, out, suffix, {})
    return Plan(items, (), one_file, None if one_file else out)


def default_output(source: Path, verb: str) -> Path:
    """Return `page-verb.png` for `page.png` and `folder-verb` for `folder`, beside the input."""
    if not source.is_dir():
        return source.with_name(f"{source.stem}-{verb}{source.suffix}")
    named = source if source.name not in ("", "..") else source.resolve()
    return named.with_name(f"{named.name}-{verb}")


def beside(path: Path, ending: str) -> Path:
    """Return `page` + `ending`, such as "-report.json", for `page.png`; cut the stem if the name would be too long."""
    stem = os.fsencode(path.stem)
    while len(stem) + len(os.fsencode(ending)) > LONGEST_NAME:
        stem = os.fsencode(os.fsdecode(stem)[:-1])
    return path.with_name(os.fsdecode(stem) + ending)


def summary(left_out: Iterable[LeftOut]) -> str:
    """Return text such as `left out: 2 files of other kinds (.docx, .txt), 3 earlier results`; empty without any."""
    nouns = {
        OTHER_KIND: ("file of another kind", "files of other kinds"),
        HIDDEN: ("hidden file or folder", "hidden files or folders"),
        RESULT: ("earlier result", "earlier results"),
        NAMED_RESULT: ("earlier result that you named", "earlier results that you named"),
        SUB_FOLDER: ("sub-folder (give -r)", "sub-folders (give -r)"),
        LINKED_FOLDER: ("linked folder", "linked folders"),
        OUTPUT_FOLDER: ("folder of the outputs", "folders of the outputs"),
        NO_FILE: ("thing that is no file", "things that are no files"),
        SAME_FILE: ("other name of an input", "other names of inputs"),
    }
    left_out = list(left_out)
    counts = Counter(each.reason for each in left_out)
    kinds = sorted({os.path.splitext(each.path)[1] or "none" for each in left_out if each.reason == OTHER_KIND})
    parts = []
    for reason, (one, several) in nouns.items():
        if count := counts[reason]:
            named = kinds if reason == OTHER_KIND else []
            if reason == NAMED_RESULT:
                named = [os.path.basename(each.path) for each in left_out if each.reason == NAMED_RESULT]
            shown = f" ({', '.join(named[:5])}{', ...' if len(named) > 5 else ''})" if named else ""
            advice = ": give it alone to take it as an input" if reason == NAMED_RESULT else ""
            parts.append(f"{count} {one if count == 1 else several}{shown}{advice}")
    return f"left out: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class _Search:
    verb: str
    suffixes: Mapping[str, str]
    out: Path | None
    recursive: bool
    manifest: Callable[[Path], Manifest]

    def expand(self, text: str, *, alone: bool) -> Iterator[Item | LeftOut]:
        """Yield the inputs that one given name stands for, each with its preferred output."""
        path = Path(text)
        if os.path.isdir(path):
            root = self.out or default_output(path, self.verb)
            for found in self._walk(path):
                if isinstance(found, Item) and found.problem is None:
                    found = replace(found, output=root / found.source.relative_to(path))
                yield found
        elif os.path.exists(path):
            yield LeftOut(str(path), NAMED_RESULT) if not alone and self._is_result(path) else self.named(path)
        elif glob.has_magic(text):
            for match in sorted(map(Path, glob.glob(text, recursive=True))):
                reason = self._unwanted(match)
                yield LeftOut(str(match), reason) if reason else Item(match, self._place(match))
        else:
            raise UsageError(f"{text} does not exist: give a file, a folder or a pattern")

    def named(self, path: Path) -> Item:
        """Return the input for this very file, with its preferred output."""
        problem = None
        if os.path.isdir(path) or not os.path.exists(path):
            problem = f"{path} {'is a folder' if os.path.isdir(path) else 'does not exist'}: give a file"
        elif path.suffix.lower() not in self.suffixes:
            problem = f"{path.name} is none of {', '.join(sorted(self.suffixes))}"
        return Item(path, self._place(path), problem)

    def _walk(self, folder: Path) -> Iterator[Item | LeftOut]:
        try:
            children = sorted(folder.iterdir())
        except OSError as error:
            yield Item(folder, folder, f"cannot read the folder {folder}: {error.strerror}")
            return
        for child in children:
            if not child.is_dir():
                reason = self._unwanted(child)
                yield LeftOut(str(child), reason) if reason else Item(child, child)
            elif child.name != output_manifest.FOLDER:
                if reason := self._unwanted_folder(child):
                    yield LeftOut(str(child), reason)
                else:
                    yield from self._walk(child)

    def _unwanted_folder(self, path: Path) -> str | None:
        if self.out is not None and path.resolve() == self.out.resolve():
            return OUTPUT_FOLDER
        if path.name.startswith("."):
            return HIDDEN
        if not self.recursive:
            return SUB_FOLDER
        return LINKED_FOLDER if path.is_symlink() else None

    def _unwanted(self, path: Path) -> str | None:
        """Return the reason why a found file is no input; None for an input."""
        if not path.is_file():
            return NO_FILE
        if path.name.startswith("."):
            return HIDDEN
        if self._is_result(path):
            return RESULT
        return None if path.suffix.lower() in self.suffixes else OTHER_KIND

    def _is_result(self, path: Path) -> bool:
        if path.parent.name == FAILED and self.manifest(path.parent.parent).holds(path, f"{FAILED}/{path.name}"):
            return True
        return self.manifest(path.parent).holds(path)

    def _place(self, source: Path) -> Path:
        return self.out / source.name if self.out else default_output(source, self.verb)


def _other_names(found: Iterable[Item]) -> tuple[LeftOut, ...]:
    """Return links to files that are inputs under another name already."""
    first: dict[Path, Path] = {}
    names = [(item.source.resolve(), item.source.absolute()) for item in found]
    return tuple(LeftOut(str(name), SAME_FILE) for file, name in names if first.setdefault(file, name) != name)


def _placed(
    found: Sequence[Item],
    suffixes: Mapping[str, str],
    out: Path | None,
    suffix: str | None,
    replaced: Mapping[str, str],
) -> tuple[Item, ...]:
    """Return the found items, each source once, with outputs of the kind that is written."""
    one_file = _names_file(out, suffixes)
    if out is not None and os.path.exists(out) and not out.is_dir() and not one_file:
        raise UsageError(f"{out} is neither a folder nor a file of {', '.join(sorted(suffixes))}")
    once: dict[Path, Item] = {}
    for item in found:
        once.setdefault(item.source.resolve(), item)
    if out and one_file and out.suffix.lower() in replaced:
        raise UsageError(f"{out} is of a kind that is only read: name a {replaced[out.suffix.lower()]}")
    items = []
    for item in once.values():
        kind = suffix or replaced.get(item.output.suffix.lower())
        output = out if out and one_file else _of_kind(item.output, kind, suffixes)
        if item.problem is None and os.path.exists(output) and output.samefile(item.source):
            raise UsageError(f"{output} is the input itself: name another output")
        items.append(replace(item, output=output))
    return tuple(items)


def _names_file(out: Path | None, suffixes: Mapping[str, str]) -> bool:
    return out is not None and out.suffix.lower() in suffixes and not os.path.isdir(out)


def _of_kind(path: Path, suffix: str | None, suffixes: Mapping[str, str]) -> Path:
    if suffix is None or suffixes.get(path.suffix.lower()) == suffixes[suffix]:
        return path
    return path.with_suffix(suffix)
