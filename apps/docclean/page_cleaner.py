"""Cleans one page and keeps its content: runs the networks, protects content, and judges the result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastdiff.apps.docclean.content_protection import (
    ContentProtector,
    LessCleanedPage,
    ProtectedPage,
    less_cleaned_versions,
)
from fastdiff.apps.docclean.imaging.regions import RecoveredWord, Region
from fastdiff.apps.docclean.ocr.engines import Engine, Reading
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.report import Status
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer, RestoredPage

UNCHECKED = "deblurred without OCR to check it: characters may have changed"
LEAST_CHANGE = 0.01  # least mean change of a page, white = 1, for which a less cleaned version is worth writing


@dataclass(frozen=True)
class CleanedPage:
    """A page after cleaning: its pixels (the given ones if it was kept), with the decisions that led to them.

    `status` is "cleaned", "partly cleaned" (some regions were put back) or "kept". `regions` are the parts whose
    content cleaning changed, `recovered` the words that an engine reads only on the cleaned page. `measures` are those
    of `scoring.Comparison`. `restored` is the output of the networks, `evened` the evenly lit page; both are None for
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
    recovered: tuple[RecoveredWord, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)
    restored: np.ndarray | None = None
    evened: np.ndarray | None = None


class PageCleaner:
    """Cleans pages with one `PageRestorer` and, if there is one, one OCR engine.

    `trust_digits` lets deblurring rewrite words with digits. `force_clean` writes the output of the networks whatever
    the guard, the readings and the verdict find. `truth` is a folder of true texts (see `text_metrics.true_text`).
    """

    def __init__(
        self,
        restore: PageRestorer,
        engine: Engine | None,
        *,
        trust_digits: bool = False,
        force_clean: bool = False,
        truth: Path | None = None,
    ) -> None:
        self._restore, self._scorer = restore, Scorer(engine, truth)
        self._protect = ContentProtector(self._scorer, trust_digits, force_clean)
        self._trust_digits, self._force_clean = trust_digits, force_clean

    def __call__(self, pixels: np.ndarray, key: int, stem: str = "", page: int = 0) -> CleanedPage:
        """Clean a page of uint8 or uint16, grey (H, W) or RGB (H, W, 3); `key` names its noise.

        `stem` and `page` (0 is the first) name the true text. Raises as `PageRestorer` does.
        """
        before = self._scorer.read(pixels)
        restored_page = self._restore(pixels, key, before)
        if restored_page.task == "none":
            return self._judged(pixels, restored_page, ProtectedPage(pixels), (before, before), stem, page)
        if restored_page.task == "binarize":
            after = self._scorer.read(restored_page.pixels)
            return self._judged(pixels, restored_page, ProtectedPage(restored_page.pixels), (before, after), stem, page)
        found, after = self._protect(restored_page, before)
        if self._force_clean:
            found = replace(found, pixels=restored_page.pixels)
        made = self._judged(pixels, restored_page, found, (before, after), stem, page)
        if made.status == "kept":
            made = self._cleaned_less(made, less_cleaned_versions(found, restored_page), before, stem, page)
        return replace(made, restored=restored_page.pixels, evened=restored_page.evened)

    def _cleaned_less(
        self, kept: CleanedPage, versions: Iterable[LessCleanedPage], before: Reading | None, stem: str, page: int
    ) -> CleanedPage:
        """Return the first version that the engine reads as well as the page, in place of a kept one; else the kept
        page.

        These versions hold the strokes of the given page: a number that reads otherwise on them is due to the engine's
        own variation.
        """
        for version in versions:
            if not _differ(kept.pixels, version.pixels):
                continue
            readings = before, self._scorer.read(version.pixels)
            compared = self._scorer.compare(kept.pixels, version.pixels, stem, page, readings)
            if compared.accept:
                return replace(
                    kept,
                    pixels=version.pixels,
                    status="partly cleaned",
                    reason=f"{version.done}: {kept.reason}",
                    regions=version.regions,
                    recovered=(),
                    measures=compared.measures,
                )
        return kept

    def _judged(
        self,
        pixels: np.ndarray,
        restored_page: RestoredPage,
        found: ProtectedPage,
        readings: tuple[Reading | None, Reading | None],
        stem: str,
        page: int,
    ) -> CleanedPage:
        """Return the page to keep: the found one, or the given one if the verdict or the lost content says so."""
        compared = self._scorer.compare(pixels, found.pixels, stem, page, readings)
        status: Status = "partly cleaned" if any(each.decision == "put back" for each in found.regions) else "cleaned"
        reason = UNCHECKED if restored_page.task == "deblur" and readings[1] is None else None
        lost = (None if self._trust_digits else found.numbers_lost) or found.content_lost
        if restored_page.task == "none":
            status, reason = "kept", "already clean"
        elif not compared.accept:
            status, reason = "kept", compared.reason
        elif lost is not None:
            status, reason = "kept", lost
        if status == "kept" and self._force_clean and restored_page.task != "none":
            status = "cleaned"
        return CleanedPage(
            pixels if status == "kept" else found.pixels,
            status,
            restored_page.task,
            restored_page.task_reason,
            reason,
            restored_page.calls,
            compared.engine,
            compared.note,
            found.regions,
            found.recovered,
            compared.measures,
        )


def _differ(pixels: np.ndarray, evened: np.ndarray) -> bool:
    """True if the mean change from one page to the other is LEAST_CHANGE or more."""
    return float(cv2.absdiff(pixels, evened).mean()) >= LEAST_CHANGE * np.iinfo(pixels.dtype).max
