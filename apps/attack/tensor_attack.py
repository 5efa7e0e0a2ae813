"""Attacks on pictures in memory, for Python: a function with a result, and a class called as those of torchattacks."""

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps.attack.attacker import Attacker, AttackTarget
from fastdiff.apps.attack.labelled_pictures import Classes, Images, LabelledPictures, classes, collect
from fastdiff.apps.attack.labels import check_accuracy
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.presets import DEFAULT, PRESETS, Preset
from fastdiff.apps.attack.report import AttackReport
from fastdiff.apps.attack.result import Result
from fastdiff.apps.attack.settings import AttackSettings
from fastdiff.apps.attack.victim_examination import Specimen, VictimExamination, depends_on_batch, examine
from fastdiff.models.classifier import ClassifierTarget, Preprocessing
from fastdiff.models.classifier_borrowing import Model, borrowed
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.validation import check_name

EXAMINED = 8  # pictures that the gradients of a classifier are examined on


def attack(
    model: Model,
    images: Images,
    labels: Classes | None = None,
    *,
    targets: Classes | int | None = None,
    method: str | Preset = DEFAULT,
    epsilon: float | None = None,
    step: float | None = None,
    iterations: int | None = None,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    surrogates: Sequence[Model] = (),
    prior: str = "photos",
    batch: int = 16,
    seed: int = 0,
) -> Result:
    """Attack a classifier with all pictures of a tensor (N, C, H, W), a Dataset or a DataLoader.

    `images`, `labels` and errors about them are as in `labelled_pictures.collect`; without labels, the classes are the
    predicted ones. `targets` are the classes to reach, one for each picture or one for all; None is any other class.
    For the others see `Attack`. Raises UsageError for a classifier that is wrong about most labelled pictures, and as
    `victim_examination.examine` does.
    """
    attack = Attack(
        model, method, epsilon=epsilon, step=step, iterations=iterations, mean=mean, deviation=deviation,
        surrogates=surrogates, prior=prior, batch=batch, seed=seed,
    )  # fmt: skip
    given = collect(images, labels)
    if isinstance(targets, int):
        targets = [targets] * len(given.pictures)
    return attack.result(given, None if targets is None else classes(targets, len(given.pictures)))


@dataclass(frozen=True, eq=False)
class Attack:
    """An attack with the calling convention of torchattacks: `adversarial = Attack(model, "pgd")(images, labels)`.

    `model` is a network from pictures (B, C, H, W) in [0, 1] to logits, a function, a model of foolbox or RobustBench,
    or a `ClassifierTarget`; it is as before afterwards. Pictures reach it at their own size, normalised by `mean` and
    `deviation` (one number a channel) where these are given: for networks that do not normalise. `method` is a name of
    PRESETS or a `Preset`; `epsilon`, `step` and `iterations` replace its own. Labels are `targeted` as classes to
    reach. `surrogates` have the same classes and are attacked together with the model: their logits are averaged.
    `prior` names the diffusion prior of methods that have one, `batch` pictures are attacked together.

    Methods that perturb pixels stay within epsilon of the given pictures. The others take pictures of three channels.
    Raises UsageError for unknown methods and numbers outside `presets.RANGES`.
    """

    model: Model
    method: str | Preset = DEFAULT
    targeted: bool = False
    epsilon: float | None = None
    step: float | None = None
    iterations: int | None = None
    mean: Sequence[float] | None = None
    deviation: Sequence[float] | None = None
    surrogates: Sequence[Model] = ()
    prior: str = "photos"
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            check_name("method", self.method, PRESETS)
        if self.batch < 1:
            raise UsageError(f"batch of {self.batch}: give 1 or more")
        _ = self.preset  # refuses numbers out of range

    def __call__(self, images: Tensor, labels: Classes | None = None) -> Tensor:
        """Return attacked pictures (N, C, H, W) like `images`; those that are not attacked come as they are.

        A classifier that is wrong about most pictures is no error, and red flags are warnings.
        """
        given = collect(images, labels)
        targets = None
        if self.targeted:
            if given.labels is None:
                raise UsageError("a targeted attack needs the classes to reach as labels")
            given, targets = replace(given, labels=None), given.labels
        found = self._result(given, targets)
        for flag in found.examination.flags:
            warnings.warn(f"{flag.name}: {flag.sentence}", stacklevel=2)
        return found.adversarial.to(images)

    def result(self, given: LabelledPictures, targets: Tensor | None) -> Result:
        """Attack pictures, with target classes (N,) or None for any other, and return everything that was measured."""
        return self._result(given, targets, check=True)

    @property
    def preset(self) -> Preset:
        """The method's preset with the given changes."""
        preset = PRESETS[self.method] if isinstance(self.method, str) else self.method
        changes: dict[str, Any] = {"epsilon": self.epsilon, "step": self.step, "iterations": self.iterations}
        return replace(preset, **{name: value for name, value in changes.items() if value is not None})

    def _result(self, given: LabelledPictures, targets: Tensor | None, *, check: bool = False) -> Result:
        preset = self.preset
        if preset.uses_prior and given.pictures.shape[1] != 3:
            raise UsageError("a prior perturbs pictures of three channels: give method='pgd', or repeat the channel")
        plain = Preprocessing(None)
        preprocessing = replace(
            plain, mean=tuple(self.mean or plain.mean), deviation=tuple(self.deviation or plain.deviation)
        )
        with ExitStack() as borrowing, torch.no_grad():
            (classifier, device), *others = (
                borrowing.enter_context(borrowed(each, given.pictures, preprocessing))
                for each in (self.model, *self.surrogates)
            )
            _check_classes(classifier, given.labels, targets)
            logits = torch.cat([classifier(each[None].to(device)) for each in given.pictures])
            before = logits.argmax(1).cpu()
            if check and given.labels is not None:
                check_accuracy(before.tolist(), given.labels.tolist(), classifier)
            labels = before if given.labels is None else given.labels
            subjects = _subjects(given.pictures, labels, targets)
            examination = _examination(classifier, subjects, preset, device)
            if self.batch > 1 and depends_on_batch(classifier, _specimens(subjects[:1], device)):
                raise UsageError(
                    f"{classifier.name} gives a picture other logits with others in its batch: give batch=1"
                )
            name = self.method if isinstance(self.method, str) else "preset"
            settings = AttackSettings(name, preset, self.prior, seed=self.seed, device=str(device))
            attacker = Attacker(settings, classifier, [each for each, _ in others])
            adversarial, reports = given.pictures.clone(), list[AttackReport]()
            for first in range(0, len(subjects), self.batch):
                for attempt in attacker(subjects[first : first + self.batch], lambda share: None):
                    if attempt.colour is not None:
                        adversarial[len(reports)] = attempt.colour
                    reports.append(attempt.report)
            draws = preset.eot
            margins, after = _judged(classifier, adversarial.to(device), labels, targets, draws)
        attacked = torch.tensor([report.status == "attacked" for report in reports])
        return Result(
            given.pictures, adversarial, labels, targets, before, after, attacked, attacked & (margins > 0),
            given.labels is not None, examination, tuple(reports),
        )  # fmt: skip


def _subjects(pictures: Tensor, labels: Tensor, targets: Tensor | None) -> list[AttackTarget]:
    """Return the pictures to attack; their noise depends on their colours, not on their place."""
    return [
        AttackTarget(
            Path(str(row)),
            pictures[row : row + 1],
            int(hashlib.sha256(pictures[row].numpy().tobytes()).hexdigest()[:15], 16),
            int(labels[row]),
            None if targets is None else int(targets[row]),
        )
        for row in range(len(pictures))
    ]


def _examination(
    classifier: ClassifierTarget, subjects: Sequence[AttackTarget], preset: Preset, device: torch.device
) -> VictimExamination:
    """Examine the classifier on up to EXAMINED of the pictures, evenly."""
    return examine(classifier, _specimens(subjects[:: -(-len(subjects) // EXAMINED)], device), preset, None)


def _specimens(subjects: Sequence[AttackTarget], device: torch.device) -> list[Specimen]:
    return [Specimen(each.colours.to(device), each.true, each.target) for each in subjects]


def _check_classes(classifier: ClassifierTarget, *given: Tensor | None) -> None:
    count = len(classifier.names)
    for each in given:
        if each is not None and not ((each >= 0) & (each < count)).all():
            low, high = map(int, each.aminmax())
            raise UsageError(f"classes from {low} to {high}: {classifier.name} has {count}, counted from 0")


def _judged(
    classifier: ClassifierTarget, pictures: Tensor, labels: Tensor, targets: Tensor | None, draws: int
) -> tuple[Tensor, Tensor]:
    """Return the margins (N,) of the goal and the predicted classes (N,) of pictures, each by itself."""
    logits = [torch.stack([classifier(each[None]) for _ in range(draws)]).mean(0) for each in pictures]
    found = torch.cat(logits).cpu()
    goal = Goal(labels if targets is None else targets, targets is not None)
    return goal.margin(found), found.argmax(1)
