"""Plans a run of attack with its classifiers: labels, their examination, and what an earlier run finished."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fastdiff.apps.attack import labels, photo, reuse
from fastdiff.apps.attack.identity import fingerprint
from fastdiff.apps.attack.labels import Label
from fastdiff.apps.attack.options import FROM_TABLE, Options
from fastdiff.apps.attack.report import AttackReport
from fastdiff.apps.attack.victim_examination import Specimen, VictimExamination, depends_on_batch, examine
from fastdiff.apps.attack.work import Classifiers, Work, shared_classifiers
from fastdiff.apps.measures import accuracy
from fastdiff.apps.running import resume
from fastdiff.apps.running.inputs import Item
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import FastdiffError, UsageError

MOST_CHECKED = 200  # pictures that the accuracy of a classifier is checked on
EXAMINED = 8  # pictures that its gradients are examined on


@dataclass(frozen=True)
class Plan:
    """The work of a run, the examination of the attacked classifier, and the reports that an earlier run finished.

    `victim` is None where no picture could be read.
    """

    work: Work
    victim: VictimExamination | None
    finished: Mapping[Item, AttackReport]

    @property
    def left(self) -> Work:
        """The work that is not finished."""
        tasks = tuple((item, label) for item, label in self.work.tasks if item not in self.finished)
        return replace(self.work, tasks=tasks)


def make_plan(options: Options, items: Sequence[Item], classifiers: Classifiers) -> Plan:
    """Plan a run. Raises as `work_of` does, and UsageError for a classifier that cannot be attacked or is wrong."""
    work = work_of(options, items, classifiers)
    victim = _examine(work, classifiers)
    return Plan(work, victim, finished(work, classifiers))


def make_plan_in_worker(options: Options, items: Sequence[Item]) -> Plan:
    """Plan a run in a worker process, with the classifiers that it keeps for its attacks. Raises as `make_plan`."""
    return make_plan(options, items, shared_classifiers(options))


def work_of(options: Options, items: Sequence[Item], classifiers: Classifiers) -> Work:
    """Return the work of a run. Raises UsageError for a table of labels that does not fit."""
    classifier = classifiers.attacked
    known = _labels(options, classifier, [item.source for item in items])
    single = classifier.label(options.target) if options.target not in (None, FROM_TABLE) else None
    tasks = []
    for item in items:
        label = known.get(item.source, Label(None, None))
        target = label.target if options.target == FROM_TABLE else single
        tasks.append((item, Label(label.true, target)))
    made_with = fingerprint(options, [classifier, *classifiers.surrogates, *classifiers.others.values()])
    return Work(options, made_with, tuple(tasks))


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


def finished(work: Work, classifiers: Classifiers) -> dict[Item, AttackReport]:
    """The outputs that an earlier run finished, with their reports; none are where the work is forced."""
    draws = work.options.preset.eot
    still_valid = reuse.checker(classifiers.attacked, classifiers.others, classifiers.device, draws)
    items = [item for item, _ in work.tasks]
    found = resume.finished(items, work.manifest, force=work.options.force, still_valid=still_valid)
    return {item: replace(AttackReport.read(records[0]), input=str(item.source)) for item, records in found.items()}
