"""The application edit: pictures and prompts in, edited pictures and a report out."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from fastdiff.apps.edit import identity, provenance, table
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport, Report
from fastdiff.apps.edit.transparency import output_like
from fastdiff.apps.images import picture
from fastdiff.apps.running import batch, inputs, output_manifest, resume
from fastdiff.apps.running.claims import OutputRequest
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.apps.running.run import Job, PreparedRun, item_request_digest, locked_run, plan_run, request_digest
from fastdiff.models.catalogue import BUNDLED, WITHOUT_UNCONDITIONAL, find
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.lora import read_adapters
from fastdiff.solvers.errors import UsageError

VERB, PREVIEW_VERB = "edit", "preview"
OF_RUNS = ("compile", "offload")  # options that an edit does not depend on
OF_ITEMS = ("prompt", "source", "csv", "n", "seed")  # options that each edit has of its own


@dataclass(frozen=True)
class Remade:
    """A picture that the command `verb` makes again: the output is `PICTURE-verb.png`, and `png` is never replaced."""

    png: Path
    verb: str


@dataclass(frozen=True)
class Work:
    """The input of a worker process: the options, and the request of every output."""

    options: Options
    requests: tuple[tuple[Path, EditRequest, int], ...]  # output, request, seed

    def of(self, output: Path) -> tuple[EditRequest, int]:
        return self._by_output[output]

    def manifest(self, item: Item, content: str) -> OutputManifest:
        """The manifest entry of an output made of an input with the digest `content`."""
        request, seed = self.of(item.output)
        key = output_manifest.digest(content, *request, seed, self._fingerprint)
        return OutputManifest(item.output, item.source, key, item.request, self.options.force)

    @cached_property
    def _by_output(self) -> dict[Path, tuple[EditRequest, int]]:
        return {output: (request, seed) for output, request, seed in self.requests}

    @cached_property
    def _fingerprint(self) -> str:
        return identity.fingerprint(self.options)


@dataclass(frozen=True)
class Forecast:
    """The plan of `run`: every output with its request, and the network calls for one attempt each.

    `seconds` is the estimated time on two cores for one attempt each, `longest` for all attempts.
    """

    items: tuple[tuple[Item, EditRequest], ...]
    calls: int
    seconds: float | None  # None for a model that does not tell its size, such as a checkpoint
    longest: float | None
    left_out: tuple[inputs.LeftOut, ...]


def run(options: Options, watch: batch.Watch | None = None, remade: Remade | None = None) -> Report:
    """Edit all pictures, write the outputs and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; edits that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options or inputs that do not fit,
    MissingError for a model that is not here, OutputError where the report cannot be written or another run writes into
    the same place.
    """
    plan = _Plan(options, remade)
    with locked_run(plan.job()) as prepared:
        work = plan.work(prepared)
        if watch:  # gigabytes, the first time
            watch(batch.Progress(0.0, len(prepared.items), 0.0, "checking the model's files"))
        finished = _finished(prepared, work)
        done, code = resume.run(prepared.items, finished, Worker, work, _failed, jobs=options.jobs, watch=watch)
        edits = tuple(done[item] for item in prepared.items)
        code = code or (batch.SOME_FAILED if any(edit.missing for edit in edits) else 0)
        report = Report(edits, code, prepared.report.output, len(finished), prepared.left_out)
        prepared.write_report(report.to_json(), provisional=all(edit.output is None for edit in edits))
    return report


def forecast(options: Options) -> Forecast:
    """Plan `run(options)` with a rough estimate of its time; write nothing.

    Raises UsageError and MissingError as `run` does.
    """
    from fastdiff.apps.edit.forecast import cost, seconds
    from fastdiff.apps.edit.needed_controls import check_controls
    from fastdiff.apps.edit.settings import settings_of
    from fastdiff.models.speedup.speedup_file import read_speedup_file

    plan = _Plan(options, None)
    prepared = plan_run(plan.job())
    work = plan.work(prepared)
    finished = _finished(prepared, work)
    items = tuple((item, work.of(item.output)[0]) for item in prepared.items if item not in finished)
    settings = settings_of(options)
    check_controls(settings)
    folder = read_folder(find(options.model, options.config))
    read_adapters(settings.loras, folder)
    if settings.speedup is not None:
        read_speedup_file(settings.speedup)
    each = cost(settings, masked=options.mask is not None, paired=folder.pipeline not in WITHOUT_UNCONDITIONAL)
    attempts = settings.preset.attempts if settings.model in BUNDLED and not settings.preview else 1
    shortest, longest = (
        None if options.config else seconds(options.model, each.rows, len(items), tries) for tries in (1, attempts)
    )
    return Forecast(items, each.calls * len(items), shortest, longest, prepared.left_out)


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
        request, seed = self._work.of(item.output)
        options, content = self._work.options, output_manifest.file_digest(item.source)
        manifest = self._work.manifest(item, content)
        original = picture.read(item.source, first_frame=True)
        height, width = original.page.pixels.shape[:2]
        mask = picture.read_mask(options.mask, (height, width)) if options.mask else None
        edited = self._edit(original.colour, request, seed, mask, tick)
        like, remark = output_like(original, edited.colour, request)
        report = replace(
            edited.report,
            input=str(item.source),
            output=str(item.output),
            prompt=request.prompt,
            seed=seed,
            reason="; ".join(filter(None, (edited.report.reason, remark, original.loss))) or None,
            seconds=round(time.monotonic() - began, 3),
        )
        with manifest.drafts(item.outputs) as drafts:
            record = provenance.record(report, options, content, self._digests) if options.metadata else None
            kind = picture.SUFFIXES[item.output.suffix.lower()]
            picture.save(edited.colour, like, drafts[item.output], record, kind)
            manifest.publish(drafts, [asdict(report), provenance.places(report.input, options)], final=True)
        return report


class _Plan:
    """The outputs of a run: one per picture, request and variant."""

    def __init__(self, options: Options, remade: Remade | None) -> None:
        if options.prompt is not None and not options.prompt.strip():
            raise UsageError("an empty prompt: say what the picture should show")
        if options.mask is not None:
            picture.read_mask(options.mask)  # here, where what is wrong with it stops all
        self._options, self._remade = options, remade
        self._out = picture.check_output(options.out)
        self._verb = remade.verb if remade else PREVIEW_VERB if options.preview else VERB
        self._request = request_digest(self._verb, options, without=(*OF_RUNS, *OF_ITEMS))
        self._rows = table.read(options.csv) if options.csv is not None else None
        self._requests: dict[Path, list[EditRequest]] = {}
        for path, request in self._rows or ():
            self._requests.setdefault(path.resolve(), []).append(request)

    def job(self) -> Job:
        options = self._options
        return Job(
            request_digest(
                self._verb, options, options.recursive, *map(os.path.abspath, options.inputs), without=OF_RUNS
            ),
            self._search,
            self._wanted,
            (*options.reads, *([self._remade.png] if self._remade else ())),
            options.force,
            options.report,
        )

    def work(self, prepared: PreparedRun) -> Work:
        """The requests of the claimed outputs."""
        requested = [each for item in prepared.found for each in self._of(item)]
        outputs = [item.output for item in prepared.items]
        return Work(self._options, tuple((output, *each) for output, each in zip(outputs, requested, strict=True)))

    def _search(self) -> inputs.Plan:
        """The pictures, each with the output that its first edit would like."""
        options, kinds = self._options, picture.SUFFIXES
        place = partial(inputs.plan, options.inputs, recursive=options.recursive)
        if self._rows is not None:
            place = partial(inputs.listed, [path for path, _ in self._rows])
        plan = place(verb=self._verb, suffixes=kinds, out=self._out, suffix=self._suffix)
        if self._remade and self._out is None:
            preferred = self._remade.png.with_name(f"{self._remade.png.stem}-{self._remade.verb}{self._suffix}")
            plan = replace(plan, items=tuple(replace(item, output=preferred) for item in plan.items))
        return plan

    @property
    def _suffix(self) -> str:
        """The suffix of outputs that no person named: of `format`, of the picture that is made again, or of PNG."""
        if self._remade:
            return self._remade.png.suffix
        return f".{self._options.format or 'png'}"

    def _wanted(self, item: Item, named: bool) -> Sequence[OutputRequest]:
        edits = self._of(item)
        outputs = [item.output]
        if len(edits) > 1:
            outputs = [_numbered(item.output, number) for number in range(1, len(edits) + 1)]
        return [
            OutputRequest(
                replace(item, output=output), item_request_digest(self._request, item, *request, seed), named=named
            )
            for output, (request, seed) in zip(outputs, edits, strict=True)
        ]

    def _of(self, item: Item) -> list[tuple[EditRequest, int]]:
        """The edits of a picture, each with its seed."""
        alone = [EditRequest(self._options.prompt or "", self._options.source)]
        requests = alone if self._rows is None else self._requests[item.source.resolve()]
        return [(request, self._options.seed + n) for request in requests for n in range(self._options.n)]


def _numbered(output: Path, number: int) -> Path:
    return output.with_name(f"{output.stem}-{number}{output.suffix}")


def _finished(prepared: PreparedRun, work: Work) -> dict[Item, EditReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    found = resume.finished(prepared.items, work.manifest, force=work.options.force)
    return {item: replace(EditReport(**records[0]), input=str(item.source)) for item, records in found.items()}


def _failed(outcome: batch.Outcome) -> EditReport:
    return EditReport(str(outcome.item.source), reason=outcome.error)
