"""attack: pictures in, adversarial pictures and a report out, to measure how a classifier of one's own breaks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastdiff.apps.attack import html_report, pairs, sheet
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.outputs import files_of, page_of, sheet_of
from fastdiff.apps.attack.planning import finished, make_plan, make_plan_in_worker, work_of
from fastdiff.apps.attack.report import AttackReport, Report
from fastdiff.apps.attack.work import load_classifiers
from fastdiff.apps.attack.worker import Worker
from fastdiff.apps.images import picture
from fastdiff.apps.running import batch, inputs, resume
from fastdiff.apps.running.claims import OutputRequest
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.apps.running.run import Job, PreparedRun, item_request_digest, locked_run, plan_run, request_digest

VERB = "attack"
NOT_OF_ITEMS = ("batch", "export_training_pairs")  # options that a result does not depend on


@dataclass(frozen=True)
class Forecast:
    """The plan of `run`: every picture with its classes, and the inputs left out."""

    tasks: tuple[tuple[Item, Label], ...]
    left_out: tuple[inputs.LeftOut, ...]


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Attack all pictures, write the outputs, a contact sheet and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; attacks that an earlier run finished from the same input
    with the same options, models and version are not done again. Every process loads the classifiers once: with several
    jobs, a worker makes the plan, and this process holds no network. Raises UsageError for options, labels or inputs
    that do not fit, for a classifier that is wrong about most labelled pictures and for one without a usable gradient
    (see `victim_examination`), MissingError for a model that is not here, OutputError where the report cannot be
    written, another run writes into the same place, or pairs would replace files of another origin.
    """
    with locked_run(job(options)) as prepared, batch.open_pool(min(options.jobs, len(prepared.items))) as pool:
        if watch:  # models are gigabytes, the first time
            watch(batch.Progress(0.0, len(prepared.items), 0.0, "checking models and earlier results"))
        if pool is None:
            classifiers = load_classifiers(options)
            setup: batch.Setup = partial(Worker, classifiers=classifiers)
            plan = make_plan(options, prepared.items, classifiers)
        else:
            setup, plan = Worker, batch.call(pool, make_plan_in_worker, options, prepared.items)
        place = prepared.claim(sheet_of(prepared.report.output))
        page = prepared.claim(page_of(prepared.report.output))
        exported = _claimed_pairs(options, prepared)
        items, victim = prepared.items, plan.victim
        done, code = resume.run(items, plan.finished, setup, plan.left, _failed, pool=pool, watch=watch)
        images = tuple(done[item] for item in items)
        labelled = sum(label.true is not None for _, label in plan.work.tasks)
        shown = _write_sheet(images, prepared.manifest(place))
        path = prepared.report.output
        if victim is not None and victim.flags:
            code = code or batch.SOME_FAILED
        report = Report(images, code, path, len(plan.finished), labelled, shown, prepared.left_out, victim, page.output)
        prepared.write_report(report.to_json())
        prepared.write(page, _html(report))
        if exported is not None:
            pairs.export(images, prepared.manifest(exported))
    return report


def forecast(options: Options) -> Forecast:
    """Plan `run(options)`; write nothing."""
    prepared = plan_run(job(options))
    classifiers = load_classifiers(options)
    work = work_of(options, prepared.items, classifiers)
    done = finished(work, classifiers)
    return Forecast(tuple((item, label) for item, label in work.tasks if item not in done), prepared.left_out)


def job(options: Options) -> Job:
    """Return the request of a run."""
    request = request_digest(VERB, options, without=NOT_OF_ITEMS)
    pairs_folder = options.export_training_pairs
    return Job(
        request_digest(VERB, options, options.recursive, *map(os.path.abspath, options.inputs), without=("batch",)),
        partial(
            inputs.plan,
            options.inputs,
            verb=VERB,
            suffixes=picture.SUFFIXES,
            out=picture.check_png_output(options.out),
            suffix=".png",
            recursive=options.recursive,
        ),
        lambda item, named: [OutputRequest(item, item_request_digest(request, item), files_of, named)],
        options.reads,
        options.force,
        options.report,
        pairs.folders(pairs_folder) if pairs_folder is not None else (),
    )


def _claimed_pairs(options: Options, prepared: PreparedRun) -> Item | None:
    """The table of the pairs to export, with all files that it may come to list."""
    if options.export_training_pairs is None:
        return None
    count = len(prepared.items)
    table = options.export_training_pairs / pairs.TABLE
    return prepared.claim(table, lambda table: pairs.files(table, count), named=True)


def _failed(outcome: batch.Outcome) -> AttackReport:
    return AttackReport(str(outcome.item.source), reason=outcome.error)


def _write_sheet(images: Sequence[AttackReport], manifest: OutputManifest) -> Path | None:
    """Write the contact sheet of the first pictures that were attacked; its path, None where none were."""
    rows = [_row(image) for image in images if image.status == "attacked"][: sheet.MOST_ROWS]
    if not rows:
        return None
    with manifest.drafts([manifest.output]) as drafts:
        sheet.contact_sheet(rows).save(drafts[manifest.output], format="PNG")
        manifest.publish(drafts, [], final=True)
    return manifest.output


def _row(image: AttackReport) -> sheet.Row:
    before, after = _pixels(image)
    return sheet.Row(before, after, f"{_verdict(image)}, difference x {sheet.AMPLIFIED}")


def _verdict(image: AttackReport) -> str:
    assert image.confidence_before is not None and image.confidence_after is not None
    return (
        f"{image.before_name} {image.confidence_before:.0%} > {image.after_name} {image.confidence_after:.0%}"
        f"{'' if image.success_after_png else ' (failed)'}"
    )


def _pixels(image: AttackReport) -> list[np.ndarray]:
    """The picture before and after, uint8 (H, W, 3)."""
    assert image.output is not None
    return [picture.to_uint8(picture.read(Path(path)).colour[0]) for path in (image.input, image.output)]


def _html(report: Report) -> str:
    """Return the text of report.html, with the pictures that the contact sheet shows."""
    summary = report.summary
    measured = {
        "Clean accuracy": report.victim.clean_accuracy if report.victim else None,
        "Robust accuracy": summary["robust_accuracy"],
        "Attack succeeds": summary,
        **{f"Fools {name} too": rate for name, rate in summary["transfer"].items()},
        **{f"Survives {name}": rate for name, rate in summary["defences"].items()},
    }
    blocks = [html_report.examination(report.victim), "<h2>Rates</h2>", html_report.rates(measured)]
    return html_report.page("fastdiff attack", [*blocks, "<h2>Pictures</h2>", *html_pictures(report)])


def html_pictures(report: Report) -> list[str]:
    """Return the pictures of the contact sheet with their differences, in HTML."""
    blocks = []
    for image in [image for image in report.images if image.status == "attacked"][: sheet.MOST_ROWS]:
        before, after = _pixels(image)
        shown = {
            f"clean: {image.true_name}": before,
            f"attacked: {image.after_name}": after,
            f"difference x {sheet.AMPLIFIED}": sheet.difference(before, after),
        }
        blocks.append(html_report.pictures(f"{Path(image.input).name}: {_verdict(image)}", shown))
    return blocks
