"""One run of an application: its folders locked, its files claimed, its report written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fastdiff.apps import inputs
from fastdiff.apps.claims import Claims, Wanted
from fastdiff.apps.inputs import Item, LeftOut
from fastdiff.apps.lock import FolderLocks
from fastdiff.apps.output_manifest import FOLDER, OutputManifest, digest
from fastdiff.solvers.errors import OutputError, UsageError

NO_RESULT = frozenset({"inputs", "out", "recursive", "force", "report", "jobs", "device"})  # options of every command
STORED_NAME = "stored_name"  # in the metadata of an option's field: its name in earlier versions
ADDED = "added"  # in the metadata of an option's field: earlier versions had no such option


@dataclass(frozen=True)
class Job:
    """The request of an application for a run.

    `request` is the digest of the whole command, without versions and contents. `search` finds the inputs, `want` says
    which outputs an input has. `reads` are the files that the run reads besides them. `report` is where a person wants
    report.json, `folders` are more folders that the run writes into.
    """

    request: str
    search: Callable[[], inputs.Plan]
    want: Callable[[Item, bool], Sequence[Wanted]]
    reads: tuple[Path, ...]
    force: bool
    report: Path | None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """The items of a run with the files claimed for them, and the place of its report.

    `found` are the items as they were searched: each may have several of `items`, in the same order.
    """

    job: Job
    found: tuple[Item, ...]
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    report: Item
    claims: Claims

    def claim(self, path: Path, files: Callable[[Path], Sequence[Path]] | None = None, *, named: bool = False) -> Item:
        """One more output of the run as a whole, such as its contact sheet. Raises as `Claims.claim` does."""
        return _claimed(self.claims, self.job.request, path, files or (lambda path: (path,)), named=named)

    def manifest(self, item: Item) -> OutputManifest:
        """The manifest entry of an output of the run as a whole."""
        return OutputManifest(item.output, item.source, "", item.request, self.job.force)

    def write_report(self, text: str) -> None:
        """Write report.json, whole or not at all; OutputError where that fails."""
        manifest = self.manifest(self.report)
        with manifest.drafts([manifest.output]) as drafts:
            drafts[manifest.output].write_text(text, encoding="utf-8")
            manifest.publish(drafts, [], final=True)


@contextmanager
def locked(job: Job) -> Iterator[Prepared]:
    """Lock the folders that the job writes into for the time of the block, and yield what it does.

    Raises OutputError where another run writes into one of them or where one cannot be written, and as `foreseen` does.
    """
    with FolderLocks() as locks:
        plan = job.search()
        while locks.add(_folders(job, plan)):
            plan = job.search()  # again, as another run may have written until it was locked
        yield _prepared(job, plan)


def foreseen(job: Job) -> Prepared:
    """Plan the job; lock and write nothing.

    Raises UsageError and OutputError as `inputs.plan` and `Claims.claim` do.
    """
    return _prepared(job, job.search())


def request_of(command: str, options: Any, *more: object, without: Iterable[str] = ()) -> str:
    """The digest of what a person asked for: the command and a dataclass of its options, paths made absolute.

    Options of NO_RESULT and `without` are passed over; `more` are further parts. So that manifests of earlier versions
    stay valid, an option counts by its STORED_NAME, if its field has one, and one that was ADDED only where it is set.
    """
    counted = [each for each in fields(options) if each.name not in {*NO_RESULT, *without}]
    counted = [each for each in counted if ADDED not in each.metadata or getattr(options, each.name) != each.default]
    values = [(each.metadata.get(STORED_NAME, each.name), _absolute(getattr(options, each.name))) for each in counted]
    return digest(command, values, *map(_absolute, more))


def item_request(request: str, item: Item, *more: object) -> str:
    """The digest of what a person asked for of one input, with the name that its output would like."""
    return digest(request, item.source.resolve(), item.output.name, *more)


def _prepared(job: Job, plan: inputs.Plan) -> Prepared:
    claims = Claims((*job.reads, *(item.source for item in plan.items)), force=job.force)
    items = claims.claim_all([wanted for item in plan.items for wanted in job.want(item, plan.named)])
    report = job.report or _report_place(plan)
    whole = _claimed(claims, job.request, report, lambda path: (path,), named=job.report is not None)
    return Prepared(job, plan.items, items, plan.left_out, whole, claims)


def _claimed(claims: Claims, request: str, path: Path, files: Callable[[Path], Sequence[Path]], *, named: bool) -> Item:
    item = claims.claim(Wanted(Item(path.parent, path), digest(request, path.name), files, named))
    if item.problem:
        raise OutputError(item.problem)
    return item


def _report_place(plan: inputs.Plan) -> Path:
    return plan.folder / "report.json" if plan.folder else inputs.beside(plan.items[0].output, "-report.json")


def _folders(job: Job, plan: inputs.Plan) -> set[Path]:
    report = job.report or _report_place(plan)
    outputs = {item.output.parent for item in plan.items if item.problem is None}
    folders = {report.parent, *outputs, *job.folders}
    if any(FOLDER in folder.parts for folder in folders):
        raise UsageError(f"{FOLDER} is where fastdiff keeps its notes: name another place for outputs and reports")
    return folders


def _absolute(value: object) -> object:
    return str(value.resolve()) if isinstance(value, Path) else value
