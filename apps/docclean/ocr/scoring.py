"""Scores a cleaned page: OCR before and after at the same size, errors against the true text, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastdiff.apps.docclean.ocr import page_verdict, text_metrics
from fastdiff.apps.docclean.ocr.engines import Engine, Reading
from fastdiff.solvers.errors import UsageError

PROFILE = "standard"  # normalisation of text_metrics.PROFILES under which errors are reported


@dataclass(frozen=True)
class Comparison:
    """The verdict on one page, and its scores before and after cleaning.

    `measures` are named as in `report.MEASURES`; a measure that was not taken is absent or None. Error rates and word F
    are fractions under the normalisation PROFILE; confidence is in [0, 1]; characters and dictionary words are counts.
    """

    accept: bool
    reason: str
    engine: str = "none"
    note: str | None = None
    measures: Mapping[str, Any] = field(default_factory=dict)


class Scorer:
    """Reads and compares pages with one OCR engine, or compares their ink without one.

    `truth` is a folder of true texts (see `text_metrics.true_text`). Raises UsageError if it is not a folder.
    """

    def __init__(self, engine: Engine | None, truth: Path | None = None) -> None:
        if truth is not None and not truth.is_dir():
            raise UsageError(f"truth {truth} is not a folder: give one with STEM.txt or STEM.hocr files")
        self._engine, self._truth = engine, truth

    def read(self, pixels: np.ndarray) -> Reading | None:
        """Return the reading of a page as for `compare`; None without an engine."""
        return None if self._engine is None else self._engine.read(as_uint8(pixels))

    def compare(
        self,
        before: np.ndarray,
        after: np.ndarray,
        stem: str,
        page: int,
        readings: tuple[Reading | None, Reading | None] | None = None,
    ) -> Comparison:
        """Score and judge a page (0 is the first) of the document called `stem`.

        `before` and `after` are uint8 or uint16 grey (H, W) or RGB (H, W, 3), or bool with True for paper, of one
        height and width: scores at two sizes are not comparable. `readings` are those of the two by `read`, if they
        exist already. The verdict never uses the truth.
        """
        if before.shape[:2] != after.shape[:2]:
            raise UsageError(f"pages of {before.shape[:2]} and {after.shape[:2]} pixels: one size is compared")
        if readings is None:
            first = self.read(before)
            readings = first, first if np.array_equal(before, after) else self.read(after)
        read_before, read_after = readings
        if self._engine is None or read_before is None or read_after is None:
            verdict = page_verdict.ink_verdict(as_uint8(before), as_uint8(after))
            return Comparison(verdict.accept, verdict.reason)
        if page_verdict.is_legible(read_before):
            verdict = page_verdict.reading_verdict(read_before, read_after)
        else:
            verdict = page_verdict.ink_verdict(as_uint8(before), as_uint8(after))
        true = text_metrics.true_text(self._truth, stem, page) if self._truth else None
        measures = {
            f"{name}_{when}": value
            for when, reading in (("before", read_before), ("after", read_after))
            for name, value in (_scores(reading) | _errors(true, reading.text)).items()
        }
        return Comparison(verdict.accept, verdict.reason, self._engine.name, self._engine.note, measures)


def _scores(reading: Reading) -> dict[str, float | None]:
    return {
        "confidence": reading.confidence,
        "chars": reading.characters,
        "dictionary": text_metrics.dictionary_hits(reading.text),
    }


def _errors(true: str | None, read: str) -> dict[str, float | None]:
    if true is None:
        return {}
    return {
        "cer": text_metrics.cer(true, read, PROFILE),
        "wer": text_metrics.wer(true, read, PROFILE),
        "word_f": text_metrics.word_score(true, read, PROFILE).f,
    }


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8, uint16 or bool (True for paper) of any shape to uint8."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    return (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
