"""Judges whether an edited scene shows everything that was asked for: concept, background, and what was to stay."""

from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from fastdiff.apps.edit import background_fit
from fastdiff.apps.edit.background_fit import BackgroundFit
from fastdiff.apps.edit.domain import levels, middle
from fastdiff.apps.edit.scene_prompt import PLAIN, Background, ScenePrompt
from fastdiff.apps.edit.shape import EmojiShapes
from fastdiff.models.json_file import read_object
from fastdiff.models.recogniser import Recogniser

THRESHOLDS = "verdict.json"  # in the folder of the data; `python -m benchmarks.edit.thresholds` writes it
KNOWN_SHAPE = 15.0  # dB, from which on the place of an emoji in the input is trusted
ELSE_RADIUS = 56  # pixels around the middle that count as the subject where its place is not known
OUTLINE = 9  # pixels, of the square around the subject that belongs neither to it nor to the background
LEAST_REGION = 0.05  # of the picture; smaller regions are not judged
REDRAWN = 0.2  # of the agreement of its edges, which a subject that was drawn anew has lost


@dataclass(frozen=True)
class Thresholds:
    """What counts as seen."""

    concept: float = 0.8  # probability by the recogniser
    shape_lead: float = 0.5  # dB by which the wished emoji fits better than the old one
    shape: float = 14.0  # dB of the wished emoji; a disc of its mean colour has that
    edges: float = 0.5  # agreement of the edges of the wished emoji
    plain: float = 35.0  # levels of distance of a plain background, or of the colours of a gradient
    patterned: float = 60.0  # levels of distance of other backgrounds
    pattern: float = 0.6  # correlation of a gradient or pattern
    kept: float = 18.0  # dB of what was to stay, against the input


@dataclass(frozen=True)
class Verdict:
    """The measurements of an edit, None for what was not asked for, and what is missing, in clauses."""

    missing: tuple[str, ...]
    concept_probability: float | None = None
    shape: float | None = None  # dB of the wished emoji at its best place
    edges: float | None = None  # agreement of the edges of the wished emoji, in [-1, 1]
    shape_before: float | None = None  # dB of the old emoji in the result
    background_distance: float | None = None  # levels of 255
    background_pattern: float | None = None  # correlation
    kept: float | None = None  # dB of what was to stay

    @property
    def rank(self) -> tuple[float, ...]:
        """The larger, the better: fewer things missing, then likelier concept, nearer shape and background."""
        lead = (self.shape or 0.0) - (self.shape_before or 0.0)
        behind = 2 * (self.background_pattern or 0.0) - (self.background_distance or 0.0) / 50
        return -len(self.missing), (self.concept_probability or 0.0) + lead / 5 + behind

    @property
    def measures(self) -> dict[str, float | None]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "missing"}


class Judge:
    """Judges edits of one picture (1, 3, H, W) in [-1, 1] from a source prompt to a wished one.

    The background counts where the mask (1, 1, H, W) in [0, 1], if there is one, lets it change.
    """

    def __init__(
        self, before: Tensor, source: ScenePrompt, wished: ScenePrompt, mask: Tensor | None, tools: "Tools"
    ) -> None:
        self._tools, self._before = tools, levels(before)
        reading = tools.recogniser.read(middle(before))[0]
        seen = Background(reading.kind, reading.colours)
        self._old_concept = source.concept or reading.concept
        self._old_background = source.background or seen
        self.concept = wished.concept or self._old_concept
        self._background = wished.background or self._old_background
        self._swapped = self.concept != self._old_concept
        self._repainted = not self._background.same_as(self._old_background)
        self._old_fit = tools.shapes.fit(self._before, self._old_concept)
        self._subject = self._place()
        self._allowed = np.ones_like(self._subject) if mask is None else (middle(mask)[0, 0] > 0.5).numpy()

    @property
    def subject_stays(self) -> bool:
        """True if another background is wished, and no other concept."""
        return self._repainted and not self._swapped

    @property
    def background_stays(self) -> bool:
        """True if another concept is wished, and no other background."""
        return self._swapped and not self._repainted

    @property
    def swap(self) -> tuple[str, str]:
        """The concepts of the picture and of the wish."""
        return self._old_concept, self.concept

    def __call__(self, edited: Tensor) -> Verdict:
        """Judge an edited picture (3, H, W) in [-1, 1]."""
        colours, least = edited[None], self._tools.thresholds
        after, missing = levels(colours), []
        probability = float(self._tools.recogniser.probability(self.concept, middle(colours)))
        if probability < least.concept:
            missing.append(f"the recogniser does not see '{self.concept}'")
        shape = edges = old_shape = None
        subject = self._subject
        if self._swapped:
            new, old = (self._tools.shapes.fit(after, each) for each in (self.concept, self._old_concept))
            shape, edges, old_shape, subject = new.psnr, new.edges, old.psnr, new.opaque
            if new.psnr < max(old.psnr + least.shape_lead, least.shape) or new.edges < least.edges:
                subject = subject | self._subject
                missing.append(f"its shape is not that of '{self.concept}'")
        found = self._fit(after, subject)
        if found is None and self._repainted:
            missing.append(f"{self._background.phrase} has too little room, in the mask and around the subject")
        if found is not None and self._is_off(found):
            missing.append(f"{self._background.phrase} is not seen{'' if self._repainted else ' all around it'}")
        kept = self._kept(after, subject)
        if (kept is not None and kept < least.kept) or self._is_redrawn(after):
            missing.append(f"{'the background' if self._swapped else 'the subject'} changed too")
        return Verdict(
            tuple(missing),
            probability,
            shape,
            edges,
            old_shape,
            found.distance if found else None,
            found.pattern if found else None,
            kept,
        )

    def _fit(self, after: np.ndarray, subject: np.ndarray) -> BackgroundFit | None:
        region = ~_grown(subject) & self._allowed
        return background_fit.fit(after, region, self._background) if region.mean() >= LEAST_REGION else None

    def _is_off(self, found: BackgroundFit) -> bool:
        least = self._tools.thresholds
        most = least.plain if self._background.kind in (PLAIN, "gradient") else least.patterned
        return found.distance > most or not found.is_pattern(least.pattern)

    def _kept(self, after: np.ndarray, subject: np.ndarray) -> float | None:
        """PSNR in dB of the background of a word swap, or of the subject before another background."""
        if self._swapped == self._repainted:
            return None
        region = ~_grown(self._subject | subject) if self._swapped else ~_grown(~self._subject)
        if region.mean() < LEAST_REGION:
            return None
        error = np.square((after - self._before)[region] / 255).mean()
        return float(-10 * np.log10(max(error, 1e-6)))

    def _is_redrawn(self, after: np.ndarray) -> bool:
        """True if the subject was to stay and its edges did not; of thin ones no pixel is far from the background."""
        if not self.subject_stays or self._old_fit.psnr < KNOWN_SHAPE:
            return False
        return self._tools.shapes.fit(after, self._old_concept).edges < self._old_fit.edges - REDRAWN

    def _place(self) -> np.ndarray:
        if self._old_fit.psnr >= KNOWN_SHAPE:
            return self._old_fit.opaque
        rows, columns = np.mgrid[: self._before.shape[0], : self._before.shape[1]]
        middle_ = (self._before.shape[0] - 1) / 2
        return np.asarray(np.hypot(rows - middle_, columns - middle_) <= ELSE_RADIUS)


@dataclass(frozen=True)
class Tools:
    """Everything that judging needs."""

    recogniser: Recogniser
    shapes: EmojiShapes
    thresholds: Thresholds


def thresholds() -> Thresholds:
    """The stored thresholds; the defaults where none are stored."""
    path = Path(str(files("fastdiff.data") / THRESHOLDS))
    return Thresholds(**read_object(path)) if path.is_file() else Thresholds()


def _grown(region: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.dilate(region.astype(np.uint8), np.ones((OUTLINE, OUTLINE), np.uint8)) > 0)
