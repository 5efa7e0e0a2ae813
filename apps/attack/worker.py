"""Attacks an input file, writes the adversarial picture, and measures it."""

import contextlib
import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from PIL import Image
from torch import Tensor

from fastdiff.apps.attack import logits, photo, reuse, sheet
from fastdiff.apps.attack.attacker import Attacker, AttackTarget, Attempt
from fastdiff.apps.attack.defences import DEFENCES
from fastdiff.apps.attack.naturalness import compare
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.options import FROM_TABLE
from fastdiff.apps.attack.outputs import difference_of, placed
from fastdiff.apps.attack.report import AttackReport, Trial
from fastdiff.apps.attack.work import Classifiers, Work, shared_classifiers
from fastdiff.apps.images import picture
from fastdiff.apps.running import batch, inputs, output_manifest
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.solvers.errors import FastdiffError, UsageError


class Worker:
    """Attacks pictures with one prior and one set of classifiers: those given, or else those of the worker process."""

    def __init__(self, work: Work, classifiers: Classifiers | None = None) -> None:
        self._work, loaded = work, classifiers or shared_classifiers(work.options)
        self._classifier, self._others, self._device = loaded.attacked, loaded.others, loaded.device
        self._counterparts = loaded.counterparts
        self._attack = Attacker(work.options.settings, self._classifier, loaded.surrogates)
        self._made: dict[inputs.Item, tuple[Attempt, float]] = {}  # with its seconds

    def __call__(self, item: inputs.Item, tick: batch.Tick) -> AttackReport:
        """Make one output and return its report. Raises FastdiffError if that fails."""
        content = output_manifest.file_digest(item.source)
        manifest = self._work.manifest(item, content)
        if item not in self._made:
            self._attack_group(item, tick)
        attempt, seconds = self._made.pop(item)
        if attempt.colour is not None:
            return self._written(item, manifest, content, attempt, time.monotonic() - seconds)
        report = replace(attempt.report, seconds=round(seconds, 3))
        outputs = reuse.measured(self._classifier, {}, self._device, reuse.pixels_of(item.source), None, self._draws)
        manifest.publish({}, [asdict(report) | {"logits": logits.stored(outputs)}], final=True)
        return report

    @property
    def _draws(self) -> int:
        return self._attack.preset.eot

    def _attack_group(self, first: inputs.Item, tick: batch.Tick) -> None:
        """Attack a picture in one batch with the next pictures of the same size."""
        began = time.monotonic()
        items = [item for item, _ in self._work.tasks]
        at = items.index(first)
        subjects = {first: self._subject(first)}
        for item in items[at + 1 : at + self._work.options.batch]:
            if item not in self._made:
                with contextlib.suppress(FastdiffError):  # reported when the item's turn comes
                    subject = self._subject(item)
                    if subject.colours.shape == subjects[first].colours.shape:
                        subjects[item] = subject
        attempts = self._attack(list(subjects.values()), tick)
        seconds = (time.monotonic() - began) / len(subjects)
        self._made |= {item: (attempt, seconds) for item, attempt in zip(subjects, attempts, strict=True)}

    def _subject(self, item: inputs.Item) -> AttackTarget:
        options, label = self._work.options, self._work.label(item)
        if options.target == FROM_TABLE and label.target is None:
            raise UsageError(f"{item.source.name} has no target in {options.labels}")
        colours = photo.to_eight_bits(photo.read(item.source).colour)
        return AttackTarget(
            item.source, colours, int(output_manifest.file_digest(item.source)[:15], 16), label.true, label.target
        )

    def _written(
        self, item: inputs.Item, manifest: OutputManifest, content: str, attempt: Attempt, began: float
    ) -> AttackReport:
        assert attempt.colour is not None
        original = picture.read(item.source)
        options, attempted = self._work.options, attempt.report
        settings = asdict(self._attack.preset) | {
            "target": attempted.target,
            "seed": options.seed,
            "true": attempted.true,
        }
        record = {
            "fastdiff": importlib.metadata.version("fastdiff-toolkit"),
            "classifier": attempted.classifier,
            "model": attempted.model,
            "method": attempted.method,
            "settings": settings,
            "input": item.source.name,
            "sha256": content,
        }
        with manifest.drafts([item.output, difference_of(item.output)]) as drafts:
            draft, shown = drafts.values()
            picture.save(
                attempt.colour * 2 - 1, picture.without_alpha(original), draft, {"adversarial": True, **record}
            )
            before, after = picture.to_uint8(original.colour[0]), picture.to_uint8(picture.read(draft).colour[0])
            outputs = reuse.measured(self._classifier, self._others, self._device, before, after, self._draws)
            success = _judged(outputs[reuse.VICTIM], attempted).success
            if not success:
                picture.save(attempt.colour * 2 - 1, picture.without_alpha(original), draft, record)
            Image.fromarray(sheet.difference(before, after)).save(shown, format="PNG")
            output = placed(item.output, success)
            chances = outputs[reuse.VICTIM][1].softmax(1)[0]
            seen = int(chances.argmax())
            report = replace(
                attempted,
                output=str(output),
                difference=str(difference_of(output)),
                after=seen,
                after_name=self._classifier.names[seen],
                confidence_after=float(chances[seen]),
                reason="; ".join(note for note in (original.page.note, attempted.reason) if note) or None,
                success_after_png=success,
                transfer={spec: _judged(outputs[spec], attempted, self._counterparts[spec]) for spec in self._others},
                defences={
                    name: _judged(
                        logits.measure(self._classifier, [defend(before), defend(after)], self._device, self._draws),
                        attempted,
                    )
                    for name, defend in DEFENCES.items()
                },
                options=settings,
                **asdict(compare(before, after)),
                seconds=round(time.monotonic() - began, 3),
            )
            files = {output: draft, difference_of(output): shown}
            manifest.publish(files, [asdict(report) | {"logits": logits.stored(outputs)}], final=True)
        return report


def _judged(pair: Sequence[Tensor], attempted: AttackReport, classes: Sequence[int | None] | None = None) -> Trial:
    """Return whether the logits are right about the clean picture, and reach the goal on the attacked one.

    `classes` are the indices in these logits of the report's classes; a picture whose class or target is not among them
    counts as one that is not right.
    """
    assert attempted.true is not None
    true, target = (
        each if each is None or classes is None else classes[each] for each in (attempted.true, attempted.target)
    )
    label = true if attempted.target is None else target
    if true is None or label is None:
        return Trial(False, False)
    goal = Goal(torch.tensor([label]), attempted.target is not None)
    clean, attacked = pair
    return Trial(bool(clean.argmax() == true), bool(goal.margin(attacked) > 0))
