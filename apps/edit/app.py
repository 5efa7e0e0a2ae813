"""edit: pictures and what they shall show in, edited pictures and a report out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from fastdiff.apps import atomic, batch, inputs, ledger, picture, resume
from fastdiff.apps.edit import identity, memory, table
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport, Report
from fastdiff.apps.edit.wish import Wish
from fastdiff.apps.ledger import Ledger
from fastdiff.solvers.errors import UsageError

VERB, PREVIEW_VERB = "edit", "preview"


@dataclass(frozen=True)
class Work:
    """Everything that a worker process is told: the options, and the wish of every output."""

    options: Options
    wishes: tuple[tuple[Path, Wish, int], ...]  # output, wish, seed

    def of(self, output: Path) -> tuple[Wish, int]:
        return self._by_output[output]

    def ledger(self, item: inputs.Item, content: str) -> Ledger:
        """The ledger of an output made of an input with the digest `content`."""
        wish, seed = self.of(item.output)
        return Ledger(item.output, item.source, ledger.digest(content, *wish, seed, self._fingerprint))

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

    items: tuple[tuple[inputs.Item, Wish], ...]
    calls: int
    seconds: float | None  # None for a model that does not tell its size


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Edit all pictures, write the outputs and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; edits that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options or inputs that do not fit,
    MissingError for a model that is not here, OutputError where the report cannot be written.
    """
    plan, work = _plan(options)
    if watch:  # gigabytes, the first time
        watch(batch.Progress(0.0, len(plan.items), 0.0, "checking the model's files"))
    finished = _finished(plan, work)
    done, code = resume.run(plan.items, finished, Worker, work, _failed, jobs=options.jobs, watch=watch)
    report = Report(tuple(done[item] for item in plan.items), code, options.report or plan.report, len(finished))
    atomic.write_text(report.path, report.to_json())
    return report


def forecast(options: Options) -> Forecast:
    """What `run(options)` would do, and a rough estimate of its time; nothing is written.

    Raises UsageError and MissingError as `run` does.
    """
    from fastdiff.apps.edit.editor import preset
    from fastdiff.apps.edit.forecast import cost, seconds

    plan, work = _plan(options)
    finished = _finished(plan, work)
    items = tuple((item, work.of(item.output)[0]) for item in plan.items if item not in finished)
    each = cost(preset(options), options)
    return Forecast(items, each.calls * len(items), seconds(options.model, each.rows * len(items)))


class Worker:
    """Edits pictures with one model, which is loaded once."""

    def __init__(self, work: Work) -> None:
        from fastdiff.apps.edit.editor import Editor

        self._work, self._edit = work, Editor(work.options)
        self._digests = identity.named_files(work.options)

    def __call__(self, item: inputs.Item, tick: batch.Tick) -> EditReport:
        """Make one output; its report. Raises FastdiffError where that cannot be."""
        began = time.monotonic()
        wish, seed = self._work.of(item.output)
        options, content = self._work.options, ledger.file_digest(item.source)
        book = self._work.ledger(item, content)
        book.open([item.output], force=options.force)
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
        with atomic.draft(item.output) as draft:
            picture.save(edited.colour, original, draft, memory.record(report, options, content, self._digests))
            book.publish({item.output: draft}, [asdict(report)], final=True)
        return report


def _plan(options: Options) -> tuple[inputs.Plan, Work]:
    """The outputs to make, one a picture, wish and variant."""
    if options.prompt is not None and not options.prompt.strip():
        raise UsageError("an empty prompt: say what the picture shall show")
    if options.mask is not None:
        picture.read(options.mask)  # here, where what is wrong with it stops all
    plan, wishes = _asked(options)
    items, told = [], []
    for item in plan.items:
        mine = [(wish, options.seed + n) for wish in wishes[item.source.resolve()] for n in range(options.n)]
        told += mine
        numbered = [replace(item, output=_numbered(item.output, number)) for number in range(1, len(mine) + 1)]
        items += numbered if len(mine) > 1 else [item]
    outputs = tuple(inputs.untaken(item.output for item in items))
    items = [replace(item, output=output) for item, output in zip(items, outputs, strict=True)]
    work = Work(options, tuple((output, *each) for output, each in zip(outputs, told, strict=True)))
    return inputs.Plan(tuple(items), plan.report), work


def _asked(options: Options) -> tuple[inputs.Plan, Mapping[Path, Sequence[Wish]]]:
    """The pictures, each with one output, and what is wished of them by their resolved paths."""
    verb = PREVIEW_VERB if options.preview else VERB
    kinds, out = picture.SUFFIXES, picture.png_place(options.out)
    if options.csv is None:
        plan = inputs.plan(
            options.inputs, verb=verb, suffixes=kinds, out=out, suffix=".png", recursive=options.recursive
        )
        wish = Wish(options.prompt or "", options.source)
        return plan, {item.source.resolve(): [wish] for item in plan.items}
    rows = table.read(options.csv)
    wishes: dict[Path, list[Wish]] = {}
    for path, wish in rows:
        wishes.setdefault(path.resolve(), []).append(wish)
    return inputs.listed([path for path, _ in rows], verb=verb, suffixes=kinds, out=out, suffix=".png"), wishes


def _numbered(output: Path, number: int) -> Path:
    return output.with_name(f"{output.stem}-{number}{output.suffix}")


def _finished(plan: inputs.Plan, work: Work) -> dict[inputs.Item, EditReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    found = resume.finished(plan.items, work.ledger, force=work.options.force)
    return {item: replace(EditReport(**records[0]), input=str(item.source)) for item, records in found.items()}


def _failed(outcome: batch.Outcome) -> EditReport:
    return EditReport(str(outcome.item.source), reason=outcome.error)
