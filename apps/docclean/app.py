"""The application docclean: plans a run, cleans its documents, and writes the outputs and report.json."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from fastdiff.apps.docclean.document import SUFFIXES, open_document
from fastdiff.apps.docclean.document_cleaner import DocumentCleaner, holds_pages, manifest_of, output_names
from fastdiff.apps.docclean.identity import fingerprint
from fastdiff.apps.docclean.options import FORMATS, Options
from fastdiff.apps.docclean.report import PageReport, Report, read_page_report
from fastdiff.apps.images.kinds import REPLACED
from fastdiff.apps.running import batch, inputs, resume
from fastdiff.apps.running.claims import OutputRequest
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.run import Job, PreparedRun, item_request_digest, locked_run, plan_run, request_digest
from fastdiff.solvers.errors import FastdiffError

VERB = "clean"
CLEANING = 1.5  # seconds per megapixel on two cores without a denoiser call, for estimates
SCORING = 12.0  # seconds per page with OCR before and after
DEBLURRING = 1.5  # times as long, with a call of the denoiser and one more reading


@dataclass(frozen=True)
class Forecast:
    """The forecast of a run: every input with its output and number of pages. The number is None if the input cannot be
    opened.
    """

    items: tuple[tuple[Item, int | None], ...]
    seconds: float
    left_out: tuple[inputs.LeftOut, ...]


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Clean all inputs, write the outputs and report.json, and return the report.

    An input that fails is reported and leaves the others alone. Pages that an earlier run finished from the same input,
    with the same options and version, are taken over.

    Raises UsageError for options or inputs that do not fit, MissingError for an absent engine or absent weights,
    OutputError if the report cannot be written or another run writes into the same place.
    """
    with locked_run(_job(options)) as prepared:
        finished = _finished(prepared, options)
        done, code = resume.run(
            prepared.items, finished, DocumentCleaner, options, _failed, jobs=options.jobs, watch=watch
        )
        pages = tuple(page for item in prepared.items for page in done[item])
        if not code and any(page.status == "failed" for page in pages):
            code = batch.SOME_FAILED
        report = Report(pages, code, prepared.report.output, len(finished), prepared.left_out)
        prepared.write_report(report.to_json(), provisional=all(page.output is None for page in pages))
    return report


def forecast(options: Options) -> Forecast:
    """Return what `run(options)` would do, with a rough estimate of its time. Writes nothing."""
    items: list[tuple[Item, int | None]] = []
    seconds = 0.0
    prepared = plan_run(_job(options))
    finished = _finished(prepared, options)
    for item in prepared.items:
        if item in finished:
            continue
        try:
            with open_document(item.source) as document:
                items.append((item, document.count))
                for index in range(document.count):
                    if not document.untouched(index):
                        times = DEBLURRING if options.task == "deblur" else 1
                        seconds += times * (CLEANING * document.megapixels(index) + SCORING * (options.ocr != "none"))
        except FastdiffError:
            items.append((item, None))
    return Forecast(tuple(items), seconds / options.jobs, prepared.left_out)


def _job(options: Options) -> Job:
    request = request_digest(VERB, options)
    return Job(
        request_digest(VERB, options, options.recursive, *map(os.path.abspath, options.inputs)),
        partial(
            inputs.plan,
            options.inputs,
            verb=VERB,
            suffixes=SUFFIXES,
            out=options.out,
            suffix=FORMATS[options.format] if options.format else None,
            replaced=REPLACED,
            recursive=options.recursive,
        ),
        lambda item, named: _wanted(item, named, request),
        options.reads,
        options.force,
        options.report,
    )


def _wanted(item: Item, named: bool, request: str) -> Sequence[OutputRequest]:
    """Return the request for one output, of as many files as its kind needs for the pages of the input."""
    count = 1
    if item.problem is None and not holds_pages(item.output):
        try:
            with open_document(item.source) as document:
                count = document.count
        except FastdiffError:
            pass  # the loop over the items reports it
    return [OutputRequest(item, item_request_digest(request, item), lambda output: output_names(output, count), named)]


def _finished(prepared: PreparedRun, options: Options) -> dict[Item, list[PageReport]]:
    """Return the items that an earlier run finished, with their pages; none if `force` is set."""
    made_with = fingerprint(options)
    found = resume.finished(
        prepared.items,
        lambda item, content: manifest_of(item, content, made_with, options),
        force=options.force,
    )
    return {
        item: [replace(read_page_report(record), input=str(item.source)) for record in records]
        for item, records in found.items()
    }


def _failed(outcome: batch.Outcome) -> list[PageReport]:
    return [PageReport(str(outcome.item.source), reason=outcome.error)]
