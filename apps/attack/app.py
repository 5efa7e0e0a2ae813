"""attack: pictures in, adversarial pictures and a report out, to measure how a classifier of one's own breaks."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fastdiff.apps import atomic, batch, inputs, picture, resume
from fastdiff.apps.attack import labels, pairs, photo, reuse, sheet
from fastdiff.apps.attack.identity import fingerprint
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import FROM_TABLE, Options
from fastdiff.apps.attack.outputs import apart
from fastdiff.apps.attack.report import AttackReport, Report
from fastdiff.apps.attack.work import Work, attacked_classifier, device_of, other_classifiers
from fastdiff.apps.attack.worker import Worker
from fastdiff.apps.ledger import Ledger
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import FastdiffError, UsageError

VERB = "attack"
MOST_CHECKED = 200  # pictures that the accuracy of a classifier is checked on


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Attack all pictures, write the outputs, a contact sheet and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; attacks that an earlier run finished from the same input
    with the same options, models and version are not done again. Raises UsageError for options, labels or inputs that
    do not fit and for a classifier that is wrong about most labelled pictures, MissingError for a model that is not
    here, OutputError where the report cannot be written or a sheet or pairs would replace files of another origin.
    """
    if watch:  # models are gigabytes, the first time
        watch(batch.Progress(0.0, len(options.inputs), 0.0, "checking models and earlier results"))
    place, work, classifier, others = _plan(options)
    finished = _finished(work, classifier, others)
    left = replace(work, tasks=tuple((item, label) for item, label in work.tasks if item not in finished))
    if left.tasks:
        _check_accuracy(work, classifier)
    if options.export_training_pairs and not options.force:
        pairs.check(options.export_training_pairs)
    book = _sheet_ledger(place)
    book.open([book.output], force=options.force)
    items = [item for item, _ in work.tasks]
    done, code = resume.run(items, finished, Worker, left, _failed, jobs=options.jobs, watch=watch)
    labelled = sum(label.true is not None for _, label in work.tasks)
    report = Report(tuple(done[item] for item in items), code, place, len(finished), labelled)
    atomic.write_text(report.path, report.to_json())
    _write_sheet(report, book)
    if options.export_training_pairs:
        pairs.export(report.images, options.export_training_pairs)
    return report


def forecast(options: Options) -> tuple[tuple[inputs.Item, Label], ...]:
    """What `run(options)` would do: every picture to attack with its classes; nothing is written."""
    _, work, classifier, others = _plan(options)
    finished = _finished(work, classifier, others)
    return tuple((item, label) for item, label in work.tasks if item not in finished)


def _plan(options: Options) -> tuple[Path, Work, ClassifierTarget, dict[str, ClassifierTarget]]:
    """Where report.json goes, what is to be done, the classifier to attack, and those to try the results on."""
    plan = inputs.plan(
        options.inputs,
        verb=VERB,
        suffixes=picture.SUFFIXES,
        out=picture.png_place(options.out),
        suffix=".png",
        recursive=options.recursive,
    )
    classifier = attacked_classifier(options)
    others = other_classifiers(options, classifier)
    place = options.report or plan.report
    items = apart(plan.items, _sheet_ledger(place).output)
    known = _labels(options, classifier, [item.source for item in items])
    single = classifier.label(options.target) if options.target not in (None, FROM_TABLE) else None
    tasks = []
    for item in items:
        label = known.get(item.source, Label(None, None))
        target = label.target if options.target == FROM_TABLE else single
        tasks.append((item, Label(label.true, target)))
    made_with = fingerprint(options, [classifier, *others.values()])
    return place, Work(options, made_with, tuple(tasks)), classifier, others


def _labels(options: Options, classifier: ClassifierTarget, pictures: Sequence[Path]) -> dict[Path, Label]:
    """Those of the table that was given, which has to know some of the pictures."""
    if options.labels is None:
        return {}
    known = labels.assigned(labels.read(options.labels, classifier), pictures)
    if not known:
        raise UsageError(f"{options.labels} names none of the pictures: its column image holds their paths or names")
    if options.target == FROM_TABLE and all(label.target is None for label in known.values()):
        raise UsageError(f"{options.labels} has no target_label for any of the pictures, and --target is csv")
    return known


def _check_accuracy(work: Work, classifier: ClassifierTarget) -> None:
    """On up to MOST_CHECKED labelled pictures, evenly over the run; those that cannot be read are told of later."""
    labelled = [(item, label.true) for item, label in work.tasks if label.true is not None]
    if len(labelled) < labels.ENOUGH:
        return
    predicted, true = [], []
    for item, label in labelled[:: -(-len(labelled) // MOST_CHECKED)]:
        with contextlib.suppress(FastdiffError), torch.no_grad():
            colour = photo.read(item.source).colour.to(device_of(work.options))
            predicted.append(int(classifier((colour + 1) / 2).argmax()))
            true.append(label)
    labels.check_accuracy(predicted, true, classifier)


def _finished(
    work: Work, classifier: ClassifierTarget, others: Mapping[str, ClassifierTarget]
) -> dict[inputs.Item, AttackReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    still_valid = reuse.checker(classifier, others, device_of(work.options))
    items = [item for item, _ in work.tasks]
    found = resume.finished(items, work.ledger, force=work.options.force, still_valid=still_valid)
    return {item: replace(AttackReport.read(records[0]), input=str(item.source)) for item, records in found.items()}


def _failed(outcome: batch.Outcome) -> AttackReport:
    return AttackReport(str(outcome.item.source), reason=outcome.error)


def sheet_of(report: Path) -> Path:
    """The contact sheet beside report.json, which is there if anything was attacked."""
    return report.with_name(f"{report.stem}-sheet.png")


def _sheet_ledger(report: Path) -> Ledger:
    """Of the contact sheet, so that it is never taken for an input."""
    target = sheet_of(report)
    return Ledger(target, target.parent.resolve(), key="")


def _write_sheet(report: Report, book: Ledger) -> None:
    """Of the first pictures that were attacked."""
    rows = [_row(image) for image in report.images if image.status == "attacked"][: sheet.MOST_ROWS]
    if not rows:
        return
    with atomic.draft(book.output) as draft:
        sheet.contact_sheet(rows).save(draft, format="PNG")
        book.publish({book.output: draft}, [], final=True)


def _row(image: AttackReport) -> sheet.Row:
    assert image.output is not None and image.confidence_before is not None and image.confidence_after is not None
    text = (
        f"{image.before_name} {image.confidence_before:.0%} > {image.after_name} {image.confidence_after:.0%}"
        f"{'' if image.success_after_png else ' (failed)'}, difference x {sheet.AMPLIFIED}"
    )
    before, after = (picture.as_bytes(picture.read(Path(path)).colour[0]) for path in (image.input, image.output))
    return sheet.Row(before, after, text)
