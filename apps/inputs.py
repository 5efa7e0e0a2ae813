"""From the names a person gives (files, folders, patterns) to the list of inputs, each with the place of its output."""

import functools
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    replaced: Mapping[str, str] | None = None,
    recursive: bool = False,
) -> Plan:
    """Find the inputs and name their outputs.

    An input is a file, a folder (with `recursive` also its sub-folders) or a glob pattern. Outputs go to `INPUT-verb`
    beside the input, or to `out`: a file for a single input file where `out` ends in a known suffix, else a folder.
    Folders keep their tree, and `suffix` (such as ".pdf") replaces suffixes of another kind; without it `replaced`
    gives the suffixes to write in the place of those that are only read. `suffixes` maps the known lower-case suffixes
    to kinds. Hidden files, files of other suffixes and results of earlier runs found in folders
    or patterns are passed over; of several files given by name, those that are results of earlier runs are too. Two
    inputs never share an output: the later one is numbered (`page-2.png`).

    Raises UsageError for a name that does not exist, an `out` that does not fit or would replace an input, or where
    nothing is left to do.
    """
    one_file = _names_file(out, suffixes)
    if one_file and (len(inputs) > 1 or not Path(inputs[0]).is_file()):
        raise UsageError(f"{out} names one file for several inputs: give a folder")
    search = _Search(verb, suffixes, out, recursive, functools.cache(ledger.made_in))
    found = [item for text in inputs for item in search.expand(text, alone=len(inputs) == 1)]
    if not found:
        known = ", ".join(sorted(suffixes))
        raise UsageError(f"nothing to do in {', '.join(inputs)}: no file of {known} but hidden ones or earlier results")
    first = Path(inputs[0])
    folder = default_output(first, verb) if first.is_dir() else None
    return _placed(found, suffixes, out, suffix, folder, replaced or {})


def listed(
    files: Sequence[Path], *, verb: str, suffixes: Mapping[str, str], out: Path | None = None, suffix: str | None = None
) -> Plan:
    """The same for files that are named one by one: none is passed over, and a name that cannot be used is the problem
    of its item alone.

    Raises UsageError for an `out` that does not fit or would replace an input.
    """
    if _names_file(out, suffixes) and len({path.resolve() for path in files}) > 1:
        raise UsageError(f"{out} names one file for several inputs: give a folder")
    search = _Search(verb, suffixes, out, False, ledger.made_in)
    return _placed(list(map(search.named, files)), suffixes, out, suffix, None, {})


def untaken(
    wishes: Iterable[Path],
    files: Callable[[Path], Iterable[Path]] = lambda path: (path,),
    reserved: Iterable[Path] = (),
) -> Iterator[Path]:
    """The wished paths in order, each a path of its own: those that come later are numbered (`page-2.png`).

    `files` are what is written for a path: none meets those of another, or one that is reserved.
    """
    taken = set(map(_folded, reserved))
    for wish in wishes:
        number, path = 1, wish
        while not taken.isdisjoint(mine := set(map(_folded, files(path)))):
            number += 1
            path = wish.with_name(f"{wish.stem}-{number}{wish.suffix}")
        taken |= mine
        yield path


def default_output(source: Path, verb: str) -> Path:
    """`page.png` -> `page-verb.png`, `folder` -> `folder-verb`, beside the input."""
    if not source.is_dir():
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
                yield self.named(path)
        elif glob.has_magic(text):
            for match in sorted(map(Path, glob.glob(text, recursive=True))):
                if match.is_file() and self._is_wanted(match):
                    yield Item(match, self._place(match))
        else:
            raise UsageError(f"{text} does not exist: give a file, a folder or a pattern")

    def named(self, path: Path) -> Item:
        """The input that is this very file, with the output it would like."""
        problem = None
        if path.is_dir() or not path.exists():
            problem = f"{path} {'is a folder' if path.is_dir() else 'does not exist'}: give a file"
        elif path.suffix.lower() not in self.suffixes:
            problem = f"{path.name} is none of {', '.join(sorted(self.suffixes))}"
        return Item(path, self._place(path), problem)

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


def _placed(
    found: Sequence[Item],
    suffixes: Mapping[str, str],
    out: Path | None,
    suffix: str | None,
    folder: Path | None,
    replaced: Mapping[str, str],
) -> Plan:
    """The plan of what was found, each source once, its report in `out` or `folder`, else beside the first output."""
    one_file = _names_file(out, suffixes)
    if out is not None and out.exists() and not out.is_dir() and not one_file:
        raise UsageError(f"{out} is neither a folder nor a file of {', '.join(sorted(suffixes))}")
    once: dict[Path, Item] = {}
    for item in found:
        once.setdefault(item.source.resolve(), item)
    if out and one_file and out.suffix.lower() in replaced:
        raise UsageError(f"{out} is of a kind that is only read: name a {replaced[out.suffix.lower()]}")
    wishes = (
        out if out and one_file else _of_kind(item.output, suffix or replaced.get(item.output.suffix.lower()), suffixes)
        for item in once.values()
    )
    items = tuple(replace(item, output=output) for item, output in zip(once.values(), untaken(wishes), strict=True))
    for item in items:
        if item.problem is None and item.output.exists() and item.output.samefile(item.source):
            raise UsageError(f"{item.output} is the input itself: name another output")
    folder = folder if out is None or one_file else out
    first = items[0].output
    return Plan(items, folder / "report.json" if folder else first.with_name(f"{first.stem}-report.json"))


def _names_file(out: Path | None, suffixes: Mapping[str, str]) -> bool:
    return out is not None and out.suffix.lower() in suffixes and not out.is_dir()


def _of_kind(path: Path, suffix: str | None, suffixes: Mapping[str, str]) -> Path:
    if suffix is None or suffixes.get(path.suffix.lower()) == suffixes[suffix]:
        return path
    return path.with_suffix(suffix)


def _folded(path: Path) -> str:
    """One spelling for paths that some file systems hold to be the same."""
    return str(path.absolute()).casefold()
