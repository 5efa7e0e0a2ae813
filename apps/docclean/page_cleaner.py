"""Cleans one page and keeps its content: the networks, the guard, the words in place and the verdict on the page."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastdiff.apps.docclean.enhance import Enhanced, Enhancer
from fastdiff.apps.docclean.findings import Finder, Findings
from fastdiff.apps.docclean.ocr import Engine, Reading
from fastdiff.apps.docclean.regions import Recovered, Region
from fastdiff.apps.docclean.report import Status
from fastdiff.apps.docclean.scoring import Scorer

UNCHECKED = "deblurred without OCR to check it: characters may have changed"
MOST_PUT_BACK = 0.5  # share of a page's strokes, and
MOST_COVERED = 0.75  # of the page, by areas; where more goes back, none of the cleaned page is kept
RELIT = 0.01  # mean change of a page, white = 1, from which even light alone is worth writing


@dataclass(frozen=True)
class CleanedPage:
    """A page after cleaning: its pixels (the given ones where it was kept) and how they came to be.

    `status` is "cleaned", "partly cleaned" (some regions were put back) or "kept". `regions` are the parts whose
    content cleaning changed, `recovered` the words that can be read only on the cleaned page. `measures` are those of
    `scoring.Comparison`. `restored` and `evened` are the page by the networks alone and the evenly lit page, None for
    the tasks "none" and "binarize".
    """

    pixels: np.ndarray
    status: Status
    task: str
    task_reason: str
    reason: str | None
    calls: int
    engine: str
    note: str | None = None
    regions: tuple[Region, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)
    restored: np.ndarray | None = None
    evened: np.ndarray | None = None


class PageCleaner:
    """Cleans pages by one `Enhancer` and, if there is one, by the readings of one OCR engine.

    `trust_digits` lets words with digits be rewritten, `force_clean` writes what the networks made, whatever the
    guard, the readings and the verdict find. `truth` is a folder of true texts (see `text.truth_of`).
    """

    def __init__(
        self,
        enhance: Enhancer,
        engine: Engine | None,
        *,
        trust_digits: bool = False,
        force_clean: bool = False,
        truth: Path | None = None,
    ) -> None:
        self._enhance, self._scorer = enhance, Scorer(engine, truth)
        self._find = Finder(self._scorer, trust_digits, force_clean)
        self._trust_digits, self._force_clean = trust_digits, force_clean

    def __call__(self, pixels: np.ndarray, key: int, stem: str = "", page: int = 0) -> CleanedPage:
        """Clean a page of uint8 or uint16, grey (H, W) or RGB (H, W, 3); `key` names its noise.

        `stem` and `page` (0 is the first) name the true text. Raises as `Enhancer` does.
        """
        before = self._scorer.read(pixels)
        enhanced = self._enhance(pixels, key, before)
        if enhanced.task == "none":
            return self._judged(pixels, enhanced, Findings(pixels), (before, before), stem, page)
        if enhanced.task == "binarize":
            after = self._scorer.read(enhanced.pixels)
            return self._judged(pixels, enhanced, Findings(enhanced.pixels), (before, after), stem, page)
        found, after = self._find(enhanced, before)
        if self._force_clean:
            found = replace(found, pixels=enhanced.pixels)
        made = self._judged(pixels, enhanced, found, (before, after), stem, page)
        if made.status == "kept":
            made = self._with_even_light(made, enhanced.evened, before, stem, page)
        return replace(made, restored=enhanced.pixels, evened=enhanced.evened)

    def _with_even_light(
        self, kept: CleanedPage, evened: np.ndarray, before: Reading | None, stem: str, page: int
    ) -> CleanedPage:
        """The evened-out page in place of a kept one, where the light was uneven and the page reads as before.

        Strokes are those of the page as it came: a number that reads otherwise on it is the engine's own wavering.
        """
        if not _differ(kept.pixels, evened):
            return kept
        readings = before, self._scorer.read(evened)
        compared = self._scorer.compare(kept.pixels, evened, stem, page, readings)
        if not compared.accept:
            return kept
        height, width = evened.shape[:2]
        return replace(
            kept,
            pixels=evened,
            status="partly cleaned",
            reason=f"only its light was evened out: {kept.reason}",
            regions=(Region((0, 0, width, height), "all but the light", "put back"),),
            recovered=(),
            measures=compared.measures,
        )

    def _judged(
        self,
        pixels: np.ndarray,
        enhanced: Enhanced,
        found: Findings,
        readings: tuple[Reading | None, Reading | None],
        stem: str,
        page: int,
    ) -> CleanedPage:
        """The page to keep: the found one, or the given one where the verdict or the share put back says so."""
        compared = self._scorer.compare(pixels, found.pixels, stem, page, readings)
        status: Status = "partly cleaned" if any(each.decision == "put back" for each in found.regions) else "cleaned"
        reason = UNCHECKED if enhanced.task == "deblur" and readings[1] is None else None
        numbers = None if self._trust_digits else found.numbers_lost
        if enhanced.task == "none":
            status, reason = "kept", "already clean"
        elif not compared.accept:
            status, reason = "kept", compared.reason
        elif numbers is not None:
            status, reason = "kept", numbers
        elif found.share > MOST_PUT_BACK:
            status, reason = "kept", f"{found.share:.0%} of its strokes would have changed"
        elif found.cover > MOST_COVERED:
            status, reason = "kept", f"{found.cover:.0%} of it would have changed"
        if status == "kept" and self._force_clean and enhanced.task != "none":
            status = "cleaned"
        return CleanedPage(
            pixels if status == "kept" else found.pixels,
            status,
            enhanced.task,
            enhanced.task_reason,
            reason,
            enhanced.calls,
            compared.engine,
            compared.note,
            found.regions,
            found.recovered,
            compared.measures,
        )


def _differ(pixels: np.ndarray, evened: np.ndarray) -> bool:
    """Whether the mean change from one page to the other is RELIT or more."""
    return float(cv2.absdiff(pixels, evened).mean()) >= RELIT * np.iinfo(pixels.dtype).max
