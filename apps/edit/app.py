"""edit: pictures and what they shall show in, edited pictures and a report out."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from fastdiff.apps import batch, inputs, ledger, picture, resume
from fastdiff.apps.claims import Wanted
from fastdiff.apps.edit import identity, memory, table
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport, Report
from fastdiff.apps.edit.wish import Wish
from fastdiff.apps.inputs import Item
from fastdiff.apps.ledger import Ledger
from fastdiff.apps.run import Job, Prepared, foreseen, item_request, locked, request_of
from fastdiff.solvers.errors import UsageError

VERB, PREVIEW_VERB = "edit", "preview"
OF_RUNS = ("compile", "offload")  # options that an edit does not depend on
OF_ITEMS = ("prompt", "source", "csv", "n", "seed")  # options that are told of each edit by itself


@dataclass(frozen=True)
class Remade:
    """A PNG that is made again by the command `verb`: its output is `PNG-verb.png`, and it is never replaced."""

    png: Path
    verb: str


@dataclass(frozen=True)
class Work:
    """Everything that a worker process is told: the options, and the wish of every output."""

    options: Options
    wishes: tuple[tuple[Path, Wish, int], ...]  # output, wish, seed

    def of(self, output: Path) -> tuple[Wish, int]:
        return self._by_output[output]

    def ledger(self, item: Item, content: str) -> Ledger:
        """The ledger of an output made of an input with the digest `content`."""
        wish, seed = self.of(item.output)
        key = ledger.digest(content, *wish, seed, self._fingerprint)
        return Ledger(item.output, item.source, key, item.request, self.options.force)

    @cached_property
    def _by_output(self) -> dict[Path, tuple[Wish, int]]:
        return {output: (wish, seed) for output, wish, seed in self.wishes}

    @cached_property
    def _fingerprint(self) -> str:
        return identity.fingerprint(self.options)


@dataclass(frozen=True)
class Forecast:
    """What `run` would do: every output to make with its wish, and the network calls of all in one attempt each.

    `seconds` is the time that these take on two cores.
    """

    items: tuple[tuple[Item, Wish], ...]
    calls: int
    seconds: float | None  # None for a model that does not tell its size
    left_out: tuple[inputs.LeftOut, ...]


def run(options: Options, watch: batch.Watch | None = None, remade: Remade | None = None) -> Report:
    """Edit all pictures, write the outputs and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; edits that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options or inputs that do not fit,
    MissingError for a model that is not here, OutputError where the report cannot be written or another run writes into
    the same place.
    """
    plan = _Plan(options, remade)
    with locked(plan.job()) as prepared:
        work = plan.work(prepared)
        if watch:  # gigabytes, the first time
            watch(batch.Progress(0.0, len(prepared.items), 0.0, "checking the model's files"))
        finished = _finished(prepared, work)
        done, code = resume.run(prepared.items, finished, Worker, work, _failed, jobs=options.jobs, watch=watch)
        edits = tuple(done[item] for item in prepared.items)
        report = Report(edits, code, prepared.report.output, len(finished), prepared.left_out)
        prepared.write_report(report.to_json())
    return report


def forecast(options: Options) -> Forecast:
    """What `run(options)` would do, and a rough estimate of its time; nothing is written.

    Raises UsageError and MissingError as `run` does.
    """
    from fastdiff.apps.edit.forecast import cost, seconds
    from fastdiff.apps.edit.settings import settings_of

    plan = _Plan(options, None)
    prepared = foreseen(plan.job())
    work = plan.work(prepared)
    finished = _finished(prepared, work)
    items = tuple((item, work.of(item.output)[0]) for item in prepared.items if item not in finished)
    each = cost(settings_of(options), masked=options.mask is not None)
    rows = each.rows * len(items)
    return Forecast(items, each.calls * len(items), seconds(options.model, rows), prepared.left_out)


class Worker:
    """Edits pictures with one model, which is loaded once."""

    def __init__(self, work: Work) -> None:
        from fastdiff.apps.edit.editor import Editor
        from fastdiff.apps.edit.settings import settings_of

        self._work, self._edit = work, Editor(settings_of(work.options))
        self._digests = identity.named_files(work.options)

    def __call__(self, item: Item, tick: batch.Tick) -> EditReport:
        """Make one output; its report. Raises FastdiffError where that cannot be."""
        began = time.monotonic()
        wish, seed = self._work.of(item.output)
        options, content = self._work.options, ledger.file_digest(item.source)
        book = self._work.ledger(item, content)
        original = picture.read(item.source)
        height, width = original.page.pixels.shape[:2]
        mask = picture.read_mask(options.mask, (height, width)) if options.mask else None
        edited = self._edit(original.colour, wish, seed, mask, tick)
        report = replace(
            edited.report,
            input=str(item.source),
            output=str(item.output),
            prompt=wish.prompt,
            seed=seed,
            reason="; ".join(filter(None, (edited.report.reason, original.loss))) or None,
            seconds=round(time.monotonic() - began, 3),
        )
        with book.drafts(item.outputs) as drafts:
            record = memory.record(report, options, content, self._digests)
            picture.save(edited.colour, original, drafts[item.output], record)
            book.publish(drafts, [asdict(report)], final=True)
        return report


class _Plan:
    """The outputs to make, one a picture, wish and variant."""

    def __init__(self, options: Options, remade: Remade | None) -> None:
        if options.prompt is not None and not options.prompt.strip():
            raise UsageError("an empty prompt: say what the picture shall show")
        if options.mask is not None:
            picture.read(options.mask)  # here, where what is wrong with it stops all
        self._options, self._remade = options, remade
        self._out = picture.png_place(options.out)
        self._verb = remade.verb if remade else PREVIEW_VERB if options.preview else VERB
        self._request = request_of(self._verb, options, without=(*OF_RUNS, *OF_ITEMS))
        self._rows = table.read(options.csv) if options.csv is not None else None
        self._wishes: dict[Path, list[Wish]] = {}
        for path, wish in self._rows or ():
            self._wishes.setdefault(path.resolve(), []).append(wish)

    def job(self) -> Job:
        options = self._options
        return Job(
            request_of(self._verb, options, options.recursive, *map(os.path.abspath, options.inputs), without=OF_RUNS),
            self._search,
            self._wanted,
            (*options.reads, *([self._remade.png] if self._remade else ())),
            options.force,
            options.report,
        )

    def work(self, prepared: Prepared) -> Work:
        """The wishes of the claimed outputs."""
        wished = [each for item in prepared.found for each in self._of(item)]
        outputs = [item.output for item in prepared.items]
        return Work(self._options, tuple((output, *each) for output, each in zip(outputs, wished, strict=True)))

    def _search(self) -> inputs.Plan:
        """The pictures, each with the output that its first edit would like."""
        options, kinds = self._options, picture.SUFFIXES
        place = partial(inputs.plan, options.inputs, recursive=options.recursive)
        if self._rows is not None:
            place = partial(inputs.listed, [path for path, _ in self._rows])
        plan = place(verb=self._verb, suffixes=kinds, out=self._out, suffix=".png")
        if self._remade and self._out is None:
            wish = self._remade.png.with_name(f"{self._remade.png.stem}-{self._remade.verb}.png")
            plan = replace(plan, items=tuple(replace(item, output=wish) for item in plan.items))
        return plan

    def _wanted(self, item: Item, named: bool) -> Sequence[Wanted]:
        edits = self._of(item)
        outputs = [item.output]
        if len(edits) > 1:
            outputs = [_numbered(item.output, number) for number in range(1, len(edits) + 1)]
        return [
            Wanted(replace(item, output=output), item_request(self._request, item, *wish, seed), named=named)
            for output, (wish, seed) in zip(outputs, edits, strict=True)
        ]

    def _of(self, item: Item) -> list[tuple[Wish, int]]:
        """The edits of a picture, each with its seed."""
        alone = [Wish(self._options.prompt or "", self._options.source)]
        wishes = alone if self._rows is None else self._wishes[item.source.resolve()]
        return [(wish, self._options.seed + n) for wish in wishes for n in range(self._options.n)]


def _numbered(output: Path, number: int) -> Path:
    return output.with_name(f"{output.stem}-{number}{output.suffix}")


def _finished(prepared: Prepared, work: Work) -> dict[Item, EditReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    found = resume.finished(prepared.items, work.ledger, force=work.options.force)
    return {item: replace(EditReport(**records[0]), input=str(item.source)) for item, records in found.items()}


def _failed(outcome: batch.Outcome) -> EditReport:
    return EditReport(str(outcome.item.source), reason=outcome.error)
