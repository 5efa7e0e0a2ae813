"""`fastdiff docclean`."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from fastdiff.apps.docclean.options import CALLS, DEBLUR_CALLS, ENGINES, FORMATS, SOLVER, TASKS, Options
from fastdiff.cli.exit_codes import OF_INPUTS
from fastdiff.cli.formatting import counted, places
from fastdiff.cli.options import PATH, Command, files, option, running

if TYPE_CHECKING:
    from fastdiff.apps.docclean.app import Forecast
    from fastdiff.apps.docclean.report import PageReport, Report

MOST_NAMED = 10  # pages of a status that are named on the screen
SHOWN = {  # cause of a region in the report -> the phrase for the screen
    "strokes gone": "possible strokes",
    "strokes recoloured": "strokes of another colour",
    "strokes invented": "new strokes",
    "area changed": "figures and fills",
    "photograph": "photographs",
    "digits": "numbers",
    "word changed": "words that would read otherwise",
    "word not certain": "uncertain words",
    "ambiguous word": "words that blur made ambiguous",
    "blurred strokes, which the page keeps": "all blurred strokes",
}
FATES = ("cleaned", "partly cleaned", "kept", "failed")


@click.command(cls=Command, epilog=OF_INPUTS)
@click.argument("inputs", nargs=-1, required=True)
@files
@option(
    "--format", type=click.Choice(list(FORMATS)), help="Kind of the outputs. [default: the input's]", group="Output"
)
@option(
    "--task",
    type=click.Choice(TASKS),
    default="auto",
    help="clean removes stains, folds, shadows and noise. deblur sharpens pages that are out of focus, shaken or of "
    "low resolution. binarize writes ink and paper in one bit. auto chooses clean or deblur for each page. "
    "[default: auto]",
    group="Cleaning",
)
@option("--trust-digits", is_flag=True, help="With --task deblur, also rewrite words with digits.", group="Cleaning")
@option(
    "--solver",
    help=f"Solver of the diffusion stage: a name of `fastdiff solvers`. [default: {SOLVER}]",
    group="Cleaning",
)
@option(
    "--calls",
    type=click.IntRange(0),
    help=f"Network calls of the diffusion stage; 0 skips it. [default: {DEBLUR_CALLS} for deblur, otherwise {CALLS}]",
    group="Cleaning",
)
@option("--solver-file", type=PATH, help="A solver that `fastdiff tune` fitted to these weights.", group="Cleaning")
@option("--weights", type=PATH, help="Your own weights: a file, or a folder with two networks.", group="Cleaning")
@option(
    "--ocr",
    type=click.Choice(ENGINES),
    default="easyocr",
    help="OCR engine that reads each page before and after. none only checks that no ink is lost. [default: easyocr]",
    group="Scoring",
)
@option(
    "--truth",
    type=PATH,
    help="Folder of true texts, STEM.txt or STEM.hocr. Adds error rates to the report.",
    group="Scoring",
)
@option(
    "--force-clean", is_flag=True, help="Write the output of the networks even where content was lost.", group="Scoring"
)
@option(
    "--break-signatures",
    is_flag=True,
    help="Clean signed PDFs too, which makes their signatures invalid.",
    group="Cleaning",
)
@running
def command(as_json: bool, dry_run: bool, debug: bool, **chosen: Any) -> int:
    """Clean scanned or photographed pages, and score them with OCR.

    Takes images, multi-page TIFFs and PDFs. Puts back content that the networks changed. A page that reads worse after
    cleaning keeps its pixels. The same command resumes a stopped run. An output has the kind of its input, except that
    GIF becomes PNG.

    \b
    Examples:
      fastdiff docclean scans/                      a folder, into scans-clean/
      fastdiff docclean letter.pdf -o clean.pdf     one PDF
      fastdiff docclean 'photos/*.jpg' --format pdf --task deblur
      fastdiff docclean archive/ -r --task binarize --format tiff --jobs 2
    """
    from fastdiff.cli.progress import LOADING, run_command, status

    with status(LOADING):
        from fastdiff.apps.docclean import app

    options = Options(**chosen)
    if dry_run:
        click.echo(_forecast(app.forecast(options)))
        return 0
    return run_command(app.run, options, _summary, debug=debug, as_json=as_json)


def _summary(report: "Report") -> str:
    """A run in one line, after the pages that were kept or partly cleaned, and why, and what else is worth a line."""
    from fastdiff.apps.docclean.report import WRITTEN

    pages = report.pages
    long = {page.input for page in pages if page.page not in (None, 1)}
    partly = _with(pages, "partly cleaned")
    lines = _listed("partly cleaned", [f"{_place(page, long)}, {_put_back(page)}" for page in partly])
    changed = [(page, left) for page in _with(pages, "cleaned") if (left := _left(page))]
    lines += _listed("cleaned", [f"{_place(page, long)}, {left}" for page, left in changed])
    kept = [page for page in _with(pages, "kept") if not page.untouched]
    lines += _listed("kept", [f"{_place(page, long)}, {page.reason}" for page in kept])
    lines += [f"failed: {page.input} page {page.page}, {page.reason}" for page in pages if _is_failed_page(page)]
    untouched = Counter(page.untouched for page in pages if page.untouched)
    lines += [f"{counted(count, 'page')} of {shown} passed through untouched" for shown, count in untouched.items()]
    unchecked = sum(page.task == "deblur" and page.engine == "none" and page.status in WRITTEN for page in pages)
    if unchecked:
        lines.append(f"characters may have changed on {counted(unchecked, 'page')} deblurred without OCR to check it")
    counts = report.summary
    fates = ", ".join(f"{counts[name.replace(' ', '_')]} {name}" for name in FATES)
    text = f"{counted(counts['pages'], 'page')}: {fates}"
    if counts["word_f_before"] is not None:
        text += f"; word F {counts['word_f_before']:.3f} -> {counts['word_f_after']:.3f}"
    elif counts["confidence_before"] is not None:
        text += f"; OCR confidence {counts['confidence_before']:.3f} -> {counts['confidence_after']:.3f}"
    where = places({page.output for page in pages if page.output})
    return "\n".join([*lines, f"{text}.{where} Report: {report.path}"])


def _with(pages: "Sequence[PageReport]", status: str) -> "list[PageReport]":
    return [page for page in pages if page.status == status]


def _listed(status: str, lines: list[str]) -> list[str]:
    """At most MOST_NAMED lines that begin with a status, and one for the number of those left out."""
    shown = [f"{status}: {line}" for line in lines[:MOST_NAMED]]
    more = len(lines) - MOST_NAMED
    return [*shown, f"{status}: {more} more, told of in the report"] if more > 0 else shown


def _place(page: "PageReport", long: set[str]) -> str:
    """The input of a page, with its number in documents of several pages."""
    return f"{page.input} page {page.page}" if page.input in long else page.input


def _put_back(page: "PageReport") -> str:
    """Such as `kept as it came in 3 places: area, digits (2)`, what changed, and why the page was cleaned less."""
    left = _places(page, "left")
    changed = f"; changed in {left}" if left else ""
    return _joined(f"kept as it came in {_places(page, 'put back')}{changed}", page)


def _left(page: "PageReport") -> str | None:
    """Such as `changed in 3 places: area, digits (2)`, and what reads worse; None without such places."""
    places = _places(page, "left")
    return _joined(f"changed in {places}", page) if places else None


def _joined(fate: str, page: "PageReport") -> str:
    return f"{fate}; {page.reason}" if page.reason else fate


def _places(page: "PageReport", decision: str) -> str | None:
    """Such as `3 places: changed area, digits (2)`; None without a region of that decision."""
    causes = Counter(SHOWN.get(region.cause, region.cause) for region in page.regions if region.decision == decision)
    named = ", ".join(f"{cause} ({count})" if count > 1 else cause for cause, count in causes.items())
    return f"{counted(causes.total(), 'place')}: {named}" if causes else None


def _is_failed_page(page: "PageReport") -> bool:
    """Whether one page of a document failed; documents that failed as a whole were reported when they did."""
    return page.status == "failed" and page.page is not None


def _forecast(forecast: "Forecast") -> str:
    """A line for every input, one for all, and one for what is left out."""
    from fastdiff.apps.running.inputs import summary

    lines = [
        f"{item.source} -> {item.output} ({'cannot be opened' if count is None else counted(count, 'page')})"
        for item, count in forecast.items
    ]
    time = timedelta(seconds=round(forecast.seconds))
    total = f"{counted(len(lines), 'input')} to do, about {time}; calls to other computers: none"
    return "\n".join(filter(None, [*lines, total, summary(forecast.left_out)]))
