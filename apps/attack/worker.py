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
from fastdiff.apps.attack.outputs import difference_of
from fastdiff.apps.attack.report import AttackReport, Trial
from fastdiff.apps.attack.work import Classifiers, Work, load_classifiers
from fastdiff.apps.images import picture
from fastdiff.apps.running import batch, inputs, output_manifest
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.solvers.errors import FastdiffError, UsageError


class Worker:
    """Attacks pictures with one prior and one set of classifiers, which it loads unless they are given."""

    def __init__(self, work: Work, classifiers: Classifiers | None = None) -> None:
        self._work, loaded = work, classifiers or load_classifiers(work.options)
        self._classifier, self._others, self._device = loaded.attacked, loaded.others, loaded.device
        self._attack = Attacker(work.options.settings, self._classifier)
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
        outputs = reuse.measured(self._classifier, {}, self._device, reuse.pixels_of(item.source), None)
        manifest.publish({}, [asdict(report) | {"logits": logits.stored(outputs)}], final=True)
        return report

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
                    if subject.colour.shape == subjects[first].colour.shape:
                        subjects[item] = subject
        attempts = self._attack(list(subjects.values()), tick)
        seconds = (time.monotonic() - began) / len(subjects)
        self._made |= {item: (attempt, seconds) for item, attempt in zip(subjects, attempts, strict=True)}

    def _subject(self, item: inputs.Item) -> AttackTarget:
        options, label = self._work.options, self._work.label(item)
        if options.target == FROM_TABLE and label.target is None:
            raise UsageError(f"{item.source.name} has no target in {options.labels}")
        colour = photo.read(item.source).colour
        return AttackTarget(
            item.source, colour, int(output_manifest.file_digest(item.source)[:15], 16), label.true, label.target
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
            "adversarial": True,
            "fastdiff": importlib.metadata.version("fastdiff-toolkit"),
            "classifier": attempted.classifier,
            "model": attempted.model,
            "method": attempted.method,
            "settings": settings,
            "input": item.source.name,
            "sha256": content,
        }
        beside = difference_of(item.output)
        with manifest.drafts(item.outputs) as drafts:
            draft, shown = drafts[item.output], drafts[beside]
            picture.save(attempt.colour * 2 - 1, picture.without_alpha(original), draft, record)
            before, after = picture.to_uint8(original.colour[0]), picture.to_uint8(picture.read(draft).colour[0])
            Image.fromarray(sheet.difference(before, after)).save(shown, format="PNG")
            outputs = reuse.measured(self._classifier, self._others, self._device, before, after)
            report = replace(
                attempted,
                output=str(item.output),
                difference=str(beside),
                reason="; ".join(note for note in (original.page.note, attempted.reason) if note) or None,
                success_after_png=_judged(outputs[reuse.VICTIM], attempted).success,
                transfer={spec: _judged(outputs[spec], attempted) for spec in self._others},
                defences={
                    name: _judged(
                        logits.measure(self._classifier, [defend(before), defend(after)], self._device), attempted
                    )
                    for name, defend in DEFENCES.items()
                },
                options=settings,
                **asdict(compare(before, after)),
                seconds=round(time.monotonic() - began, 3),
            )
            manifest.publish(drafts, [asdict(report) | {"logits": logits.stored(outputs)}], final=True)
        return report


def _judged(pair: Sequence[Tensor], attempted: AttackReport) -> Trial:
    """Return whether the logits are right about the clean picture, and reach the goal on the attacked one."""
    assert attempted.true is not None
    goal = Goal(
        torch.tensor([attempted.true if attempted.target is None else attempted.target]), attempted.target is not None
    )
    clean, attacked = pair
    return Trial(bool(clean.argmax() == attempted.true), bool(goal.margin(attacked) > 0))
