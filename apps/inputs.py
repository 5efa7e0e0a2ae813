"""From the names a person gives (files, folders, patterns) to the list of inputs, each with the place of its output."""

import functools
import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastdiff.apps import ledger
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class Item:
    """One input file and the file that its result is written to.

    `problem` is one sentence where it is known before opening that the input cannot be used.
    """

    source: Path
    output: Path
    problem: str | None = None


@dataclass(frozen=True)
class Plan:
    """The items of one run in a fixed order, and the default place of its report."""

    items: tuple[Item, ...]
    report: Path


def plan(
    inputs: Sequence[str],
    *,
    verb: str,
    suffixes: Mapping[str, str],
    out: Path | None = None,
    suffix: str | None = None,
    recursive: bool = False,
) -> Plan:
    """Find the inputs and name their outputs.

    An input is a file, a folder (with `recursive` also its sub-folders) or a glob pattern. Outputs go to `INPUT-verb`
    beside the input, or to `out`: a file for a single input file where `out` ends in a known suffix, else a folder.
    Folders keep their tree, and `suffix` (such as ".pdf") replaces suffixes of another kind. `suffixes` maps the known
    lower-case suffixes to kinds. Hidden files, files of other suffixes and results of earlier runs found in folders
    or patterns are passed over; of several files given by name, those that are results of earlier runs are too. Two
    inputs never share an output: the later one is numbered (`page-2.png`).

    Raises UsageError for a name that does not exist, an `out` that does not fit or would replace an input, or where
    nothing is left to do.
    """
    known = ", ".join(sorted(suffixes))
    one_file = out is not None and out.suffix.lower() in suffixes and not out.is_dir()
    if one_file and (len(inputs) > 1 or not Path(inputs[0]).is_file()):
        raise UsageError(f"{out} names one file for several inputs: give a folder")
    if out is not None and out.exists() and not out.is_dir() and not one_file:
        raise UsageError(f"{out} is neither a folder nor a file of {known}")
    search = _Search(verb, suffixes, out, recursive, functools.cache(ledger.made_in))
    found: dict[Path, Item] = {}
    for text in inputs:
        for item in search.expand(text, alone=len(inputs) == 1):
            found.setdefault(item.source.resolve(), item)
    if not found:
        raise UsageError(f"nothing to do in {', '.join(inputs)}: no file of {known} but hidden ones or earlier results")
    items: list[Item] = []
    taken: set[str] = set()
    for item in found.values():
        wish = out if out is not None and one_file else _of_kind(item.output, suffix, suffixes)
        output = _untaken(wish, taken)
        if item.problem is None and output.exists() and output.samefile(item.source):
            raise UsageError(f"{output} is the input itself: name another output")
        items.append(replace(item, output=output))
        taken.add(_folded(output))
    return Plan(tuple(items), _report_place(inputs, items, verb, None if one_file else out))


def default_output(source: Path, verb: str) -> Path:
    """`page.png` -> `page-verb.png`, `folder` -> `folder-verb`, beside the input."""
    if source.is_file():
        return source.with_name(f"{source.stem}-{verb}{source.suffix}")
    named = source if source.name not in ("", "..") else source.resolve()
    return named.with_name(f"{named.name}-{verb}")


@dataclass(frozen=True)
class _Search:
    verb: str
    suffixes: Mapping[str, str]
    out: Path | None
    recursive: bool
    made_in: Callable[[Path], frozenset[str]]

    def expand(self, text: str, *, alone: bool) -> Iterator[Item]:
        """Yield the inputs that one given name stands for, each with the output it would like."""
        path = Path(text)
        if path.is_dir():
            root = self.out or default_output(path, self.verb)
            for item in self._walk(path):
                yield replace(item, output=root / item.source.relative_to(path))
        elif path.exists():
            if alone or not self._is_result(path):
                fits = path.suffix.lower() in self.suffixes
                problem = None if fits else f"{path.name} is none of {', '.join(sorted(self.suffixes))}"
                yield Item(path, self._place(path), problem)
        elif glob.has_magic(text):
            for match in sorted(map(Path, glob.glob(text, recursive=True))):
                if match.is_file() and self._is_wanted(match):
                    yield Item(match, self._place(match))
        else:
            raise UsageError(f"{text} does not exist: give a file, a folder or a pattern")

    def _walk(self, folder: Path) -> Iterator[Item]:
        try:
            children = sorted(folder.iterdir())
        except OSError as error:
            yield Item(folder, folder, f"cannot read the folder {folder}: {error.strerror}")
            return
        for child in children:
            if child.is_dir():
                is_out = self.out is not None and child.resolve() == self.out.resolve()
                if self.recursive and not (is_out or child.is_symlink() or child.name.startswith(".")):
                    yield from self._walk(child)
            elif self._is_wanted(child):
                yield Item(child, child)

    def _is_wanted(self, path: Path) -> bool:
        return not path.name.startswith(".") and path.suffix.lower() in self.suffixes and not self._is_result(path)

    def _is_result(self, path: Path) -> bool:
        stem = path.stem.removesuffix(f"-{self.verb}")
        beside_its_source = stem != path.stem and any(path.with_name(stem + end).is_file() for end in self.suffixes)
        return beside_its_source or path.name in self.made_in(path.parent)

    def _place(self, source: Path) -> Path:
        return self.out / source.name if self.out else default_output(source, self.verb)


def _of_kind(path: Path, suffix: str | None, suffixes: Mapping[str, str]) -> Path:
    if suffix is None or suffixes.get(path.suffix.lower()) == suffixes[suffix]:
        return path
    return path.with_suffix(suffix)


def _untaken(path: Path, taken: set[str]) -> Path:
    number, candidate = 1, path
    while _folded(candidate) in taken:
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _folded(path: Path) -> str:
    """One spelling for paths that some file systems hold to be the same."""
    return str(path.absolute()).casefold()


def _report_place(inputs: Sequence[str], items: Sequence[Item], verb: str, folder: Path | None) -> Path:
    if folder is None and Path(inputs[0]).is_dir():
        folder = default_output(Path(inputs[0]), verb)
    first = items[0].output
    return folder / "report.json" if folder else first.with_name(f"{first.stem}-report.json")
