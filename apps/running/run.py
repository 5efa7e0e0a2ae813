"""One run of an application: locks its folders, claims its files, writes its report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fastdiff.apps.running import inputs
from fastdiff.apps.running.claims import Claims, OutputRequest
from fastdiff.apps.running.folder_locks import FolderLocks
from fastdiff.apps.running.inputs import Item, LeftOut
from fastdiff.apps.running.output_manifest import FOLDER, OutputManifest, digest
from fastdiff.solvers.errors import OutputError, UsageError

WITHOUT_EFFECT = frozenset(
    {"inputs", "out", "recursive", "force", "report", "jobs", "device"}
)  # options of every command
STORED_NAME = "stored_name"  # in the metadata of an option's field: its name in earlier versions
ADDED = "added"  # in the metadata of an option's field: earlier versions had no such option


@dataclass(frozen=True)
class Job:
    """The request of an application for a run.

    `request` is the digest of the whole command, without versions and contents. `search` finds the inputs, `want`
    returns the requested outputs of an input. `reads` are the files that the run reads besides inputs. `report` is the
    path that a person wants for report.json; `folders` are more folders that the run writes into.
    """

    request: str
    search: Callable[[], inputs.Plan]
    want: Callable[[Item, bool], Sequence[OutputRequest]]
    reads: tuple[Path, ...]
    force: bool
    report: Path | None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PreparedRun:
    """The items of a run with the files claimed for them, and the place of its report.

    `found` are the items of the search: each may have several of `items`, in the same order.
    """

    job: Job
    found: tuple[Item, ...]
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    report: Item
    claims: Claims

    def claim(self, path: Path, files: Callable[[Path], Sequence[Path]] | None = None, *, named: bool = False) -> Item:
        """Claim one more output of the run as a whole, such as its contact sheet. Raises as `Claims.claim` does."""
        return _claimed(self.claims, self.job.request, path, files or (lambda path: (path,)), named=named)

    def manifest(self, item: Item) -> OutputManifest:
        """Return the manifest entry of an output of the run as a whole."""
        return OutputManifest(item.output, item.source, "", item.request, self.job.force)

    def write_report(self, text: str, *, provisional: bool = False) -> None:
        """Write report.json, whole or not at all. Raises OutputError if that fails.

        The report of a run without results is `provisional`: the next run replaces it.
        """
        self.write(self.report, text, provisional=provisional)

    def write(self, item: Item, text: str, *, provisional: bool = False) -> None:
        """Write a claimed file of text, whole or not at all. Raises OutputError if that fails."""
        manifest = self.manifest(item)
        with manifest.drafts([manifest.output]) as drafts:
            drafts[manifest.output].write_text(text, encoding="utf-8")
            manifest.publish(drafts, [], final=True, provisional=provisional)


@contextmanager
def locked_run(job: Job) -> Iterator[PreparedRun]:
    """Lock the folders that the job writes into during the block, and yield the prepared run.

    Raises OutputError if another run writes into one of them or one cannot be written, and as `plan_run` does.
    """
    with FolderLocks() as locks:
        plan = job.search()
        while locks.add(_folders(job, plan)):
            plan = job.search()  # again, since another run may have written before the lock
        yield _prepared(job, plan)


def plan_run(job: Job) -> PreparedRun:
    """Plan the job; lock and write nothing.

    Raises UsageError and OutputError as `inputs.plan` and `Claims.claim` do.
    """
    return _prepared(job, job.search())


def request_digest(command: str, options: Any, *more: object, without: Iterable[str] = ()) -> str:
    """Return the digest of a person's request: the command and a dataclass of its options, with absolute paths.

    Passes over the options in WITHOUT_EFFECT and `without`. Counts an option by its STORED_NAME if its field has one,
    and an option that was ADDED only where it is set, so that manifests of earlier versions stay valid. `more` are
    further parts.
    """
    counted = [each for each in fields(options) if each.name not in {*WITHOUT_EFFECT, *without}]
    counted = [each for each in counted if ADDED not in each.metadata or getattr(options, each.name) != each.default]
    values = [(each.metadata.get(STORED_NAME, each.name), _absolute(getattr(options, each.name))) for each in counted]
    return digest(command, values, *map(_absolute, more))


def item_request_digest(request: str, item: Item, *more: object) -> str:
    """Return the digest of a person's request for one input, with the name of its preferred output."""
    return digest(request, item.source.resolve(), item.output.name, *more)


def _prepared(job: Job, plan: inputs.Plan) -> PreparedRun:
    claims = Claims((*job.reads, *(item.source for item in plan.items)), force=job.force)
    items = claims.claim_all([wanted for item in plan.items for wanted in job.want(item, plan.named)])
    report = job.report or _report_place(plan)
    whole = _claimed(claims, job.request, report, lambda path: (path,), named=job.report is not None)
    return PreparedRun(job, plan.items, items, plan.left_out, whole, claims)


def _claimed(claims: Claims, request: str, path: Path, files: Callable[[Path], Sequence[Path]], *, named: bool) -> Item:
    item = claims.claim(OutputRequest(Item(path.parent, path), digest(request, path.name), files, named))
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
