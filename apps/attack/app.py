"""attack: pictures in, adversarial pictures and a report out, to measure how a classifier of one's own breaks."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastdiff.apps.attack import html_report, labels, pairs, photo, reuse, sheet
from fastdiff.apps.attack.identity import fingerprint
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import FROM_TABLE, Options
from fastdiff.apps.attack.outputs import files_of, page_of, sheet_of
from fastdiff.apps.attack.report import AttackReport, Report
from fastdiff.apps.attack.victim_examination import Specimen, VictimExamination, depends_on_batch, examine
from fastdiff.apps.attack.work import Classifiers, Work, load_classifiers
from fastdiff.apps.attack.worker import Worker
from fastdiff.apps.images import picture
from fastdiff.apps.measures import accuracy
from fastdiff.apps.running import batch, inputs, resume
from fastdiff.apps.running.claims import OutputRequest
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.apps.running.run import Job, PreparedRun, item_request_digest, locked_run, plan_run, request_digest
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import FastdiffError, UsageError

VERB = "attack"
NOT_OF_ITEMS = ("batch", "export_training_pairs")  # options that a result does not depend on
MOST_CHECKED = 200  # pictures that the accuracy of a classifier is checked on
EXAMINED = 8  # pictures that its gradients are examined on


@dataclass(frozen=True)
class Forecast:
    """The plan of `run`: every picture with its classes, and the inputs left out."""

    tasks: tuple[tuple[Item, Label], ...]
    left_out: tuple[inputs.LeftOut, ...]


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Attack all pictures, write the outputs, a contact sheet and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; attacks that an earlier run finished from the same input
    with the same options, models and version are not done again. Raises UsageError for options, labels or inputs that
    do not fit, for a classifier that is wrong about most labelled pictures and for one without a usable gradient (see
    `victim_examination`), MissingError for a model that is not
    here, OutputError where the report cannot be written, another run writes into the same place, or pairs would replace
    files of another origin.
    """
    with locked_run(job(options)) as prepared:
        if watch:  # models are gigabytes, the first time
            watch(batch.Progress(0.0, len(prepared.items), 0.0, "checking models and earlier results"))
        work, classifiers = _work(options, prepared)
        victim = _examine(work, classifiers)
        finished = _finished(work, classifiers)
        left = replace(work, tasks=tuple((item, label) for item, label in work.tasks if item not in finished))
        place = prepared.claim(sheet_of(prepared.report.output))
        page = prepared.claim(page_of(prepared.report.output))
        exported = _claimed_pairs(options, prepared)
        items = [item for item, _ in work.tasks]
        one_process = min(options.jobs, len(left.tasks)) <= 1
        setup = partial(Worker, classifiers=classifiers) if one_process else Worker
        done, code = resume.run(items, finished, setup, left, _failed, jobs=options.jobs, watch=watch)
        images = tuple(done[item] for item in items)
        labelled = sum(label.true is not None for _, label in work.tasks)
        shown = _write_sheet(images, prepared.manifest(place))
        path = prepared.report.output
        if victim is not None and victim.flags:
            code = code or batch.SOME_FAILED
        report = Report(images, code, path, len(finished), labelled, shown, prepared.left_out, victim, page.output)
        prepared.write_report(report.to_json())
        prepared.write(page, _html(report))
        if exported is not None:
            pairs.export(images, prepared.manifest(exported))
    return report


def forecast(options: Options) -> Forecast:
    """Plan `run(options)`; write nothing."""
    prepared = plan_run(job(options))
    work, classifiers = _work(options, prepared)
    finished = _finished(work, classifiers)
    return Forecast(tuple((item, label) for item, label in work.tasks if item not in finished), prepared.left_out)


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


def _work(options: Options, prepared: PreparedRun) -> tuple[Work, Classifiers]:
    """Return the work of a run, and its classifiers."""
    classifiers = load_classifiers(options)
    classifier = classifiers.attacked
    known = _labels(options, classifier, [item.source for item in prepared.items])
    single = classifier.label(options.target) if options.target not in (None, FROM_TABLE) else None
    tasks = []
    for item in prepared.items:
        label = known.get(item.source, Label(None, None))
        target = label.target if options.target == FROM_TABLE else single
        tasks.append((item, Label(label.true, target)))
    made_with = fingerprint(options, [classifier, *classifiers.surrogates, *classifiers.others.values()])
    return Work(options, made_with, tuple(tasks)), classifiers


def _claimed_pairs(options: Options, prepared: PreparedRun) -> Item | None:
    """The table of the pairs to export, with all files that it may come to list."""
    if options.export_training_pairs is None:
        return None
    count = len(prepared.items)
    table = options.export_training_pairs / pairs.TABLE
    return prepared.claim(table, lambda table: pairs.files(table, count), named=True)


def _labels(options: Options, classifier: ClassifierTarget, pictures: Sequence[Path]) -> dict[Path, Label]:
    """Return the labels of the given table or folder, which must have some for the pictures."""
    if options.labels is None:
        return {}
    if options.labels.is_dir():
        known = labels.of_folders(options.labels, pictures, classifier)
        if not known:
            raise UsageError(f"no picture is in a folder in {options.labels}: give --recursive for pictures in folders")
        return known
    known = labels.assigned(labels.read(options.labels, classifier), pictures)
    if not known:
        raise UsageError(f"{options.labels} names none of the pictures: its column image holds their paths or names")
    if options.target == FROM_TABLE and all(label.target is None for label in known.values()):
        raise UsageError(f"{options.labels} has no target_label for any of the pictures, and --target is csv")
    return known


def _examine(work: Work, classifiers: Classifiers) -> VictimExamination | None:
    """Examine the attacked classifier on up to EXAMINED pictures, evenly over the run; None if none can be read.

    Pictures that cannot be read are reported later. Raises UsageError as `labels.check_accuracy` and `examine` do, and
    for batches of several pictures where logits depend on the others.
    """
    classifier, specimens = classifiers.attacked, []
    for item, label in work.tasks[:: -(-len(work.tasks) // EXAMINED)]:
        with contextlib.suppress(FastdiffError):
            colours = photo.to_eight_bits(photo.read(item.source).colour).to(classifiers.device)
            specimens.append(Specimen(colours, label.true, label.target))
    if not specimens:
        return None
    if work.options.batch > 1 and depends_on_batch(classifier, specimens):
        raise UsageError(f"{classifier.name} gives a picture other logits with others in its batch: give --batch 1")
    return examine(classifier, specimens, work.options.preset, _clean_accuracy(work, classifiers))


def _clean_accuracy(work: Work, classifiers: Classifiers) -> dict[str, Any] | None:
    """Return the accuracy on up to MOST_CHECKED labelled pictures, evenly over the run; None without labels."""
    labelled = [(item, label.true) for item, label in work.tasks if label.true is not None]
    predicted, true = [], []
    for item, label in labelled[:: -(-len(labelled) // MOST_CHECKED) or 1]:
        with contextlib.suppress(FastdiffError), torch.no_grad():
            colours = photo.to_eight_bits(photo.read(item.source).colour).to(classifiers.device)
            predicted.append(int(classifiers.attacked(colours).argmax()))
            true.append(label)
    if not true:
        return None
    labels.check_accuracy(predicted, true, classifiers.attacked)
    right = sum(a == b for a, b in zip(predicted, true, strict=True))
    return accuracy(right, len(true))


def _finished(work: Work, classifiers: Classifiers) -> dict[Item, AttackReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    draws = work.options.preset.eot
    still_valid = reuse.checker(classifiers.attacked, classifiers.others, classifiers.device, draws)
    items = [item for item, _ in work.tasks]
    found = resume.finished(items, work.manifest, force=work.options.force, still_valid=still_valid)
    return {item: replace(AttackReport.read(records[0]), input=str(item.source)) for item, records in found.items()}


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
