"""docclean: degraded page images in, readable pages and a report with OCR scores out."""

from dataclasses import dataclass, replace

from fastdiff.apps import atomic, batch, inputs, resume
from fastdiff.apps.docclean.clean import Cleaner, ledger_of
from fastdiff.apps.docclean.document import SUFFIXES, open_document
from fastdiff.apps.docclean.identity import fingerprint
from fastdiff.apps.docclean.options import FORMATS, Options
from fastdiff.apps.docclean.report import PageReport, Report
from fastdiff.solvers.errors import FastdiffError

VERB = "clean"
CLEANING = 1.5  # seconds a megapixel on two cores without a denoiser call, for estimates
SCORING = 12.0  # seconds a page with OCR before and after


@dataclass(frozen=True)
class Forecast:
    """What `run` would do: every input with its output and number of pages (None where it cannot be opened)."""

    items: tuple[tuple[inputs.Item, int | None], ...]
    seconds: float


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Clean all inputs, write the outputs and report.json, and return the report.

    Inputs that fail are reported and leave the others alone; pages that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options or inputs that do not fit,
    MissingError for an absent engine or weights, OutputError where the report cannot be written.
    """
    plan = _plan(options)
    finished = _finished(plan, options)
    done, code = resume.run(plan.items, finished, Cleaner, options, _failed, jobs=options.jobs, watch=watch)
    pages = tuple(page for item in plan.items for page in done[item])
    if not code and any(page.status == "failed" for page in pages):
        code = batch.SOME_FAILED
    report = Report(pages, code, options.report or plan.report, len(finished))
    atomic.write_text(report.path, report.to_json())
    return report


def forecast(options: Options) -> Forecast:
    """What `run(options)` would do, and a rough estimate of its time; nothing is written."""
    items: list[tuple[inputs.Item, int | None]] = []
    seconds = 0.0
    plan = _plan(options)
    finished = _finished(plan, options)
    for item in plan.items:
        if item in finished:
            continue
        try:
            with open_document(item.source) as document:
                items.append((item, document.count))
                for index in range(document.count):
                    if not document.untouched(index):
                        seconds += CLEANING * document.megapixels(index) + SCORING * (options.ocr != "none")
        except FastdiffError:
            items.append((item, None))
    return Forecast(tuple(items), seconds / options.jobs)


def _plan(options: Options) -> inputs.Plan:
    return inputs.plan(
        options.inputs,
        verb=VERB,
        suffixes=SUFFIXES,
        out=options.out,
        suffix=FORMATS[options.format] if options.format else None,
        recursive=options.recursive,
    )


def _finished(plan: inputs.Plan, options: Options) -> dict[inputs.Item, list[PageReport]]:
    """The items that an earlier run finished, with their pages; none are where the work is forced."""
    made_with = fingerprint(options)
    found = resume.finished(
        plan.items, lambda item, content: ledger_of(item, content, made_with, options.truth), force=options.force
    )
    return {
        item: [replace(PageReport(**record), input=str(item.source)) for record in records]
        for item, records in found.items()
    }


def _failed(outcome: batch.Outcome) -> list[PageReport]:
    return [PageReport(str(outcome.item.source), reason=outcome.error)]
