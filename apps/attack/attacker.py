"""Attacks pictures in memory: one classifier, one diffusion prior, one method."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.apps.attack.attention import AttentionRecorder, recording_attention
from fastdiff.apps.attack.captions import Captions
from fastdiff.apps.attack.latents import prepare
from fastdiff.apps.attack.local_curves import LocalCurves
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.presets import Preset
from fastdiff.apps.attack.report import AttackReport
from fastdiff.apps.attack.search import Classifier, search
from fastdiff.apps.attack.settings import AttackSettings
from fastdiff.apps.attack.space import Pixels, Space
from fastdiff.apps.attack.textured_pixels import TexturedPixels
from fastdiff.apps.attack.transferring import DiverseInputs, Ensemble
from fastdiff.apps.attack.work import counterparts
from fastdiff.apps.canvas import Canvas, fit_canvas
from fastdiff.apps.precision import NotFiniteError, dtype_name, precisions
from fastdiff.apps.running.batch import Tick
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.models.registry import load_model
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.readback import read_back

LARGEST_SIDE = 512  # pixels of the canvas, for classifiers that take pictures of any size


@dataclass(frozen=True, eq=False)
class AttackTarget:
    """A picture to attack."""

    path: Path
    colours: Tensor  # (1, 3, H, W) in [0, 1]; (1, 1, H, W) too for perturbed pixels
    identity: int  # the item of its noise
    true: int | None  # the true class; None is the predicted one
    target: int | None  # the target class; None is any other


@dataclass(frozen=True, eq=False)
class Attempt:
    """The result: colours (3, H, W) in [0, 1] with 8 bits (None if the picture was skipped), and the report.

    The report has no verdict yet: the file that is made of the colours is judged.
    """

    colour: Tensor | None
    report: AttackReport


class Attacker:
    """Attacks a classifier by the method of the settings.

    Gradients are of the mean logits of the classifier and its `surrogates`; pictures are those that the classifier is
    right about. Raises UsageError for a broken model and a surrogate without the classifier's classes, MissingError for
    a model or a device that is not here.
    """

    def __init__(
        self, settings: AttackSettings, classifier: ClassifierTarget, surrogates: Sequence[ClassifierTarget] = ()
    ) -> None:
        self._settings, self._classifier = settings, classifier
        matched = [(each, counterparts(classifier, each, named=True)) for each in surrogates]
        self._ensemble = Ensemble(classifier, matched) if matched else classifier
        self._device, self._precisions = precisions(settings.device, settings.dtype)
        self._overflows: tuple[torch.dtype, ...] = ()  # precisions that were given up
        self.preset: Preset = settings.preset
        self._prior: DiffusionModel | None = None
        self._captions: Captions | None = None
        if self.preset.uses_prior:
            self._prior = load_model(settings.model, self._device, self._precisions[0])
            if self._prior.text_conditioned:
                self._captions = Captions(settings, self._device)

    def __call__(self, subjects: Sequence[AttackTarget], tick: Tick) -> list[Attempt]:
        """Attack pictures of one size in one batch, either all with targets or all without.

        Raises NotFiniteError if the prior overflows in the given precision, or in all that "auto" tries.
        """
        with torch.no_grad():
            colours = torch.cat([subject.colours for subject in subjects]).to(self._device)
            chances = [self._classifier(each[None]).softmax(1)[0] for each in colours]
            begun = [self._begun(*each) for each in zip(subjects, chances, strict=True)]
            rows = [row for row, report in enumerate(begun) if report.status == "attacked"]
            attempts = [Attempt(None, report) for report in begun]
            if rows:
                chosen, reports = [subjects[row] for row in rows], [begun[row] for row in rows]
                for row, attempt in zip(rows, self._finite(colours[rows], chosen, reports, tick), strict=True):
                    attempts[row] = attempt
        return attempts

    def _begun(self, subject: AttackTarget, chances: Tensor) -> AttackReport:
        """Return the report before the attack; its status says whether the picture is attacked."""
        names = self._classifier.names
        seen = read_back(chances.argmax())
        true, target = seen if subject.true is None else subject.true, subject.target
        report = AttackReport(
            input=str(subject.path),
            true=true,
            true_name=names[true],
            target=target,
            target_name=None if target is None else names[target],
            before=seen,
            before_name=names[seen],
            confidence_before=read_back(chances[seen]),
            seed=self._settings.seed,
            classifier=self._classifier.name,
            model=self._settings.model if self._prior else None,
            method=self._settings.method,
        )
        if seen != true:
            return replace(report, status="skipped", reason="the classifier is wrong about it beforehand")
        if seen == target:
            return replace(report, status="skipped", reason="the classifier sees the target in it beforehand")
        return replace(report, status="attacked")

    def _finite(
        self, colours: Tensor, subjects: Sequence[AttackTarget], reports: Sequence[AttackReport], tick: Tick
    ) -> list[Attempt]:
        """Attack, with the prior in the next wider precision after an overflow."""
        while True:
            try:
                return self._attacked(colours, subjects, reports, tick)
            except NotFiniteError:
                if len(self._precisions) == 1:
                    raise
                given_up, *left = self._precisions
                self._overflows, self._precisions = (*self._overflows, given_up), tuple(left)
                self._prior = load_model(self._settings.model, self._device, self._precisions[0])

    def _attacked(
        self, colours: Tensor, subjects: Sequence[AttackTarget], reports: Sequence[AttackReport], tick: Tick
    ) -> list[Attempt]:
        targeted = reports[0].target is not None
        labels = [report.target if targeted else report.true for report in reports]
        goal = Goal(torch.tensor(labels, device=self._device), targeted)
        with self._recording(colours) as recorder:
            space, notes, captions, misses = self._space(colours, subjects, reports, recorder)
            inverted = space.calls
            found = search(space, self._attacked_classifier(), goal, self.preset, tick)
        return [
            Attempt(
                found.pictures[row].cpu(),
                replace(
                    reports[row],
                    iterations=read_back(found.iterations[row]),
                    calls=inverted + read_back(found.calls[row]),
                    roundtrip_error=misses[row],
                    caption=captions[row],
                    reason="; ".join(notes) or None,
                ),
            )
            for row in range(len(subjects))
        ]

    def _attacked_classifier(self) -> Classifier:
        """Return what gradients are taken of in one search."""
        if not self.preset.diversity:
            return self._ensemble
        return DiverseInputs(self._ensemble, self.preset.diversity, self._settings.seed)

    def _space(
        self,
        colours: Tensor,
        subjects: Sequence[AttackTarget],
        reports: Sequence[AttackReport],
        recorder: AttentionRecorder | None,
    ) -> tuple[Space, list[str], list[str | None], list[float | None]]:
        """Return the search space, notes, and per picture its caption and round-trip error."""
        nothing = [None] * len(subjects)
        if self._prior is None:
            return self._space_without_prior(colours), [], list(nothing), list(nothing)
        canvas = self._canvas(colours)
        notes = []
        if self._overflows:
            gone = " and ".join(map(dtype_name, self._overflows))
            notes.append(f"computed in {dtype_name(self._precisions[0])}: this prior overflows in {gone}")
        if canvas.scaled != tuple(colours.shape[-2:]):
            notes.append(f"the change was made at {canvas.scaled[1]} x {canvas.scaled[0]} pixels")
        captions: list[str | None] = list(nothing)
        if self._captions is not None:
            captions = [
                self._captions.of(subject.path, 2 * subject.colours - 1, report.true_name or "")
                for subject, report in zip(subjects, reports, strict=True)
            ]
        else:
            notes.append("captions and losses on attention are off: this prior is not text-conditioned")
        noise = Noise(self._settings.seed, tuple(subject.identity for subject in subjects))
        space, misses = prepare(self._prior, self.preset, canvas, [text or "" for text in captions], noise, recorder)
        return space, notes, captions, read_back(misses)

    def _space_without_prior(self, colours: Tensor) -> Space:
        match self.preset.perturb:
            case "texture":
                return TexturedPixels.of(colours, self.preset.translation)
            case "curves":
                return LocalCurves.of(colours)
            case _:
                return Pixels(colours, self.preset.epsilon, self.preset.early_stop)

    def _canvas(self, colours: Tensor) -> Canvas:
        """Return a canvas as large as the classifier's input, but no smaller than the prior's resolution."""
        assert self._prior is not None
        preprocessing = self._classifier.preprocessing
        own = min(LARGEST_SIDE, round(sqrt(colours.shape[-2] * colours.shape[-1])))
        side = (preprocessing.scaled or preprocessing.side) if preprocessing.side else own
        return fit_canvas(2 * colours - 1, max(self._prior.resolution, side), self._prior.size_multiple)

    @contextmanager
    def _recording(self, colours: Tensor) -> Iterator[AttentionRecorder | None]:
        """Record attention at a quarter of the latents' sides, if a loss uses it and the prior is text-conditioned."""
        if self._captions is None or not (self.preset.distraction or self.preset.structure):
            yield None
            return
        assert self._prior is not None
        height, width = self._prior.encode(self._canvas(colours).picture).shape[-2:]
        with recording_attention(self._prior.network, -(-height // 4) * -(-width // 4)) as recorder:
            yield recorder
