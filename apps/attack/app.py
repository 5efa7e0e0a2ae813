"""attack: pictures in, adversarial pictures and a report out, to measure how a classifier of one's own breaks."""

import contextlib
import importlib.metadata
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastdiff.apps import atomic, batch, inputs, ledger, picture
from fastdiff.apps.attack import labels, pairs, sheet
from fastdiff.apps.attack.attacker import Attacker, Attempt, Subject
from fastdiff.apps.attack.defences import DEFENCES
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.naturalness import compare
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.options import FROM_TABLE, Options
from fastdiff.apps.attack.report import AttackReport, Report, Trial
from fastdiff.apps.device import place
from fastdiff.apps.ledger import Ledger
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifiers import load_classifier, read_names
from fastdiff.solvers.errors import FastdiffError, UsageError

VERB = "attack"
MOST_CHECKED = 200  # pictures that the accuracy of a classifier is checked on


@dataclass(frozen=True)
class Work:
    """Everything that a worker process is told: the options, and the inputs with the classes of each."""

    options: Options
    tasks: tuple[tuple[inputs.Item, Label], ...]

    def label(self, item: inputs.Item) -> Label:
        return self._by_item[item]

    def ledger(self, item: inputs.Item, content: str) -> Ledger:
        """The ledger of an output made of an input with the digest `content`."""
        key = ledger.digest(content, self.label(item), self._fingerprint)
        return Ledger(item.output, item.source, key)

    @cached_property
    def _by_item(self) -> dict[inputs.Item, Label]:
        return dict(self.tasks)

    @cached_property
    def _fingerprint(self) -> str:
        return self.options.fingerprint()


def run(options: Options, watch: batch.Watch | None = None) -> Report:
    """Attack all pictures, write the outputs, a contact sheet and report.json, and return the report.

    Pictures that fail are reported and leave the others alone; attacks that an earlier run finished from the same input
    with the same options and version are not done again. Raises UsageError for options, labels or inputs that do not
    fit and for a classifier that is wrong about most labelled pictures, MissingError for a model that is not here,
    OutputError where the report cannot be written.
    """
    plan, work, classifier = _plan(options)
    finished = _finished(work)
    waiting = [item for item in plan.items if item not in finished]
    if waiting:
        _check_accuracy(work, classifier)
    left = replace(work, tasks=tuple((item, label) for item, label in work.tasks if item not in finished))
    outcomes = batch.run(waiting, Worker, left, jobs=options.jobs, watch=watch) if waiting else []
    done = finished | {outcome.item: outcome.value or _failed(outcome) for outcome in outcomes}
    code = batch.exit_code([*outcomes, *(batch.Outcome(item) for item in finished)])
    report = Report(tuple(done[item] for item in plan.items), code, options.report or plan.report)
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


class Worker:
    """Attacks pictures with one classifier and one prior, which are loaded once."""

    def __init__(self, work: Work) -> None:
        options = work.options
        self._work, self._classifier = work, _classifier(options)
        self._attack = Attacker(options, self._classifier)
        self._others = {spec: load_classifier(spec, _device(options)) for spec in options.transfer}
        for spec, other in self._others.items():
            if len(other.names) != len(self._classifier.names):
                raise UsageError(f"{spec} has {len(other.names)} classes, {self._classifier.name} another number")
        self._made: dict[inputs.Item, tuple[Attempt, float] | FastdiffError] = {}

    def __call__(self, item: inputs.Item, tick: batch.Tick) -> AttackReport:
        """Make one output; its report. Raises FastdiffError where that cannot be."""
        content = ledger.file_digest(item.source)
        book = self._work.ledger(item, content)
        beside = item.output.with_name(f"{item.output.stem}-difference.png")
        book.open([item.output, beside], force=self._work.options.force)
        if item not in self._made:
            self._attack_group(item, tick)
        made = self._made.pop(item)
        if isinstance(made, FastdiffError):
            raise made
        attempt, seconds = made
        began = time.monotonic() - seconds
        if attempt.colour is None:
            report = replace(attempt.report, seconds=round(seconds, 3))
            book.publish({}, [asdict(report)], final=True)
            return report
        return self._written(item, book, content, attempt, beside, began)

    def _attack_group(self, first: inputs.Item, tick: batch.Tick) -> None:
        """Attack a picture, together with following ones of its size where a batch is asked for."""
        items = [item for item, _ in self._work.tasks]
        following = items[items.index(first) :]
        subjects: dict[inputs.Item, Subject] = {}
        began = time.monotonic()
        for item in following:
            if len(subjects) == self._work.options.batch:
                break
            try:
                subject = self._subject(item)
            except FastdiffError as error:
                self._made[item] = error
                if item is first:
                    return
                continue
            alike = next(iter(subjects.values()), subject)
            if subject.colour.shape == alike.colour.shape and (subject.target is None) == (alike.target is None):
                subjects[item] = subject
        attempts = self._attack(list(subjects.values()), tick)
        seconds = (time.monotonic() - began) / len(subjects)
        self._made |= {item: (attempt, seconds) for item, attempt in zip(subjects, attempts, strict=True)}

    def _subject(self, item: inputs.Item) -> Subject:
        options, label = self._work.options, self._work.label(item)
        if options.target == FROM_TABLE and label.target is None:
            raise UsageError(f"{item.source.name} has no target in {options.labels}")
        colour = picture.read(item.source).colour
        return Subject(item.source, colour, int(ledger.file_digest(item.source)[:15], 16), label.true, label.target)

    def _written(
        self, item: inputs.Item, book: Ledger, content: str, attempt: Attempt, beside: Path, began: float
    ) -> AttackReport:
        assert attempt.colour is not None
        original = picture.read(item.source)
        options, told = self._work.options, attempt.report
        settings = asdict(self._attack.preset) | {"target": told.target, "seed": options.seed, "true": told.true}
        record = {
            "adversarial": True,
            "fastdiff": importlib.metadata.version("fastdiff-toolkit"),
            "classifier": told.classifier,
            "model": told.model,
            "method": told.method,
            "settings": settings,
            "input": item.source.name,
            "sha256": content,
        }
        with atomic.draft(item.output) as draft, atomic.draft(beside) as shown:
            picture.save(attempt.colour * 2 - 1, picture.opaque(original), draft, record)
            before, after = _bytes(original.colour), _bytes(picture.read(draft).colour)
            Image.fromarray(sheet.difference(before, after)).save(shown, format="PNG")
            report = replace(
                told,
                output=str(item.output),
                difference=str(beside),
                reason="; ".join(note for note in (original.page.note, told.reason) if note) or None,
                success_after_png=self._judged(self._classifier, before, after, told).success,
                transfer={spec: self._judged(other, before, after, told) for spec, other in self._others.items()},
                defences={
                    name: self._judged(self._classifier, defend(before), defend(after), told)
                    for name, defend in DEFENCES.items()
                },
                options=settings,
                **asdict(compare(before, after)),
                seconds=round(time.monotonic() - began, 3),
            )
            book.publish({item.output: draft, beside: shown}, [asdict(report)], final=True)
        return report

    def _judged(self, classifier: ClassifierTarget, before: np.ndarray, after: np.ndarray, told: AttackReport) -> Trial:
        """Whether the clean picture is seen as what it is, and the attacked one as what was wished."""
        assert told.true is not None
        goal = Goal(torch.tensor([told.true if told.target is None else told.target]), told.target is not None)
        device = _device(self._work.options)
        with torch.no_grad():
            clean, attacked = (classifier(_colours(pixels).to(device)).cpu() for pixels in (before, after))
        return Trial(bool(clean.argmax() == told.true), bool(goal.margin(attacked) > 0))


def _plan(options: Options) -> tuple[inputs.Plan, Work, ClassifierTarget]:
    plan = inputs.plan(
        options.inputs,
        verb=VERB,
        suffixes=picture.SUFFIXES,
        out=picture.png_place(options.out),
        suffix=".png",
        recursive=options.recursive,
    )
    classifier = _classifier(options)
    known = labels.read(options.labels, classifier) if options.labels else {}
    single = classifier.label(options.target) if options.target not in (None, FROM_TABLE) else None
    tasks = []
    for item in plan.items:
        label = labels.of(known, item.source)
        target = label.target if options.target == FROM_TABLE else single
        tasks.append((item, Label(label.true, target)))
    return plan, Work(options, tuple(tasks)), classifier


def _classifier(options: Options) -> ClassifierTarget:
    names = read_names(options.classes) if options.classes else None
    return load_classifier(options.classifier, _device(options), names)


def _device(options: Options) -> str:
    return place(options.device, options.dtype)[0]


def _check_accuracy(work: Work, classifier: ClassifierTarget) -> None:
    """On up to MOST_CHECKED labelled pictures, evenly over the run; those that cannot be read are told of later."""
    labelled = [(item, label.true) for item, label in work.tasks if label.true is not None]
    if len(labelled) < labels.ENOUGH:
        return
    predicted, true = [], []
    for item, label in labelled[:: -(-len(labelled) // MOST_CHECKED)]:
        with contextlib.suppress(FastdiffError), torch.no_grad():
            colour = picture.read(item.source).colour.to(_device(work.options))
            predicted.append(int(classifier((colour + 1) / 2).argmax()))
            true.append(label)
    labels.check_accuracy(predicted, true, classifier)


def _finished(work: Work) -> dict[inputs.Item, AttackReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    found = {}
    for item, _ in work.tasks if not work.options.force else ():
        with contextlib.suppress(FastdiffError):  # told when the item's turn comes
            records = work.ledger(item, ledger.file_digest(item.source)).finished()
            if records:
                found[item] = replace(AttackReport.read(records[0]), input=str(item.source))
    return found


def _failed(outcome: batch.Outcome) -> AttackReport:
    return AttackReport(str(outcome.item.source), reason=outcome.error)


def _write_sheet(report: Report) -> None:
    """Beside report.json, of the first pictures that were attacked."""
    rows = [_row(image) for image in report.images if image.status == "attacked"][: sheet.MOST_ROWS]
    if not rows:
        return
    target = report.path.with_name(f"{report.path.stem}-sheet.png")
    with atomic.draft(target) as draft:
        sheet.contact_sheet(rows).save(draft, format="PNG")
        atomic.publish(draft, target)


def _row(image: AttackReport) -> sheet.Row:
    assert image.output is not None and image.confidence_before is not None and image.confidence_after is not None
    text = (
        f"{image.before_name} {image.confidence_before:.0%} > {image.after_name} {image.confidence_after:.0%}"
        f"{'' if image.success_after_png else ' (failed)'}, difference x {sheet.AMPLIFIED}"
    )
    before, after = (_bytes(picture.read(Path(path)).colour) for path in (image.input, image.output))
    return sheet.Row(before, after, text)


def _bytes(colour: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1] as uint8 (H, W, 3)."""
    return ((colour[0].movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def _colours(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).movedim(-1, 0)[None] / 255
