"""attack: pictures in, adversarial pictures and a report out, to measure how a classifier of one's own breaks."""

import contextlib
from dataclasses import replace
from pathlib import Path

import torch

from fastdiff.apps import atomic, batch, inputs, picture, resume
from fastdiff.apps.attack import labels, pairs, sheet
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import FROM_TABLE, Options
from fastdiff.apps.attack.report import AttackReport, Report
from fastdiff.apps.attack.work import Work, attacked_classifier, device_of
from fastdiff.apps.attack.worker import Worker
from fastdiff.apps.ledger import Ledger
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import FastdiffError

VERB = "attack"
MOST_CHECKED = 200  # pictures that the accuracy of a classifier is checked on


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Attack all pictures, write the outputs, a contact sheet and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; attacks that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options, labels or inputs that do not
    fit and for a classifier that is wrong about most labelled pictures, MissingError for a model that is not here,
    OutputError where the report cannot be written.
    """
    plan, work, classifier = _plan(options)
    finished = _finished(work)
    left = replace(work, tasks=tuple((item, label) for item, label in work.tasks if item not in finished))
    if left.tasks:
        _check_accuracy(work, classifier)
    done, code = resume.run(plan.items, finished, Worker, left, _failed, jobs=options.jobs, watch=watch)
    report = Report(tuple(done[item] for item in plan.items), code, options.report or plan.report, len(finished))
    _write_sheet(report)
    if options.export_training_pairs:
        pairs.export(report.images, options.export_training_pairs)
    atomic.write_text(report.path, report.to_json())
    return report


def forecast(options: Options) -> tuple[tuple[inputs.Item, Label], ...]:
    """What `run(options)` would do: every picture to attack with its classes; nothing is written."""
    _, work, _ = _plan(options)
    finished = _finished(work)
    return tuple((item, label) for item, label in work.tasks if item not in finished)


def _plan(options: Options) -> tuple[inputs.Plan, Work, ClassifierTarget]:
    plan = inputs.plan(
        options.inputs,
        verb=VERB,
        suffixes=picture.SUFFIXES,
        out=picture.png_place(options.out),
        suffix=".png",
        recursive=options.recursive,
    )
    classifier = attacked_classifier(options)
    known = labels.read(options.labels, classifier) if options.labels else {}
    single = classifier.label(options.target) if options.target not in (None, FROM_TABLE) else None
    tasks = []
    for item in plan.items:
        label = labels.of(known, item.source)
        target = label.target if options.target == FROM_TABLE else single
        tasks.append((item, Label(label.true, target)))
    return plan, Work(options, tuple(tasks)), classifier


def _check_accuracy(work: Work, classifier: ClassifierTarget) -> None:
    """On up to MOST_CHECKED labelled pictures, evenly over the run; those that cannot be read are told of later."""
    labelled = [(item, label.true) for item, label in work.tasks if label.true is not None]
    if len(labelled) < labels.ENOUGH:
        return
    predicted, true = [], []
    for item, label in labelled[:: -(-len(labelled) // MOST_CHECKED)]:
        with contextlib.suppress(FastdiffError), torch.no_grad():
            colour = picture.read(item.source).colour.to(device_of(work.options))
            predicted.append(int(classifier((colour + 1) / 2).argmax()))
            true.append(label)
    labels.check_accuracy(predicted, true, classifier)


def _finished(work: Work) -> dict[inputs.Item, AttackReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    found = resume.finished([item for item, _ in work.tasks], work.ledger, force=work.options.force)
    return {item: replace(AttackReport.read(records[0]), input=str(item.source)) for item, records in found.items()}


def _failed(outcome: batch.Outcome) -> AttackReport:
    return AttackReport(str(outcome.item.source), reason=outcome.error)


def _write_sheet(report: Report) -> None:
    """Beside report.json, of the first pictures that were attacked."""
    rows = [_row(image) for image in report.images if image.status == "attacked"][: sheet.MOST_ROWS]
    if not rows:
        return
    target = report.path.with_name(f"{report.path.stem}-sheet.png")
    book = Ledger(target, Path(report.images[0].input), key="")  # so that it is never taken for an input
    with atomic.draft(target) as draft:
        sheet.contact_sheet(rows).save(draft, format="PNG")
        book.publish({target: draft}, [], final=True)


def _row(image: AttackReport) -> sheet.Row:
    assert image.output is not None and image.confidence_before is not None and image.confidence_after is not None
    text = (
        f"{image.before_name} {image.confidence_before:.0%} > {image.after_name} {image.confidence_after:.0%}"
        f"{'' if image.success_after_png else ' (failed)'}, difference x {sheet.AMPLIFIED}"
    )
    before, after = (picture.as_bytes(picture.read(Path(path)).colour[0]) for path in (image.input, image.output))
    return sheet.Row(before, after, text)
