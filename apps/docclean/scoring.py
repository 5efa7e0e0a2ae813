"""What cleaning did to a page: OCR before and after at the same size, errors where the truth is known, the verdict."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastdiff.apps.docclean import gate, ocr, text
from fastdiff.solvers.errors import UsageError

PROFILE = "standard"  # normalisation of text.PROFILES under which errors are reported


@dataclass(frozen=True)
class Comparison:
    """Scores of one page before and after cleaning; None where not measured.

    Error rates and word F are fractions under the normalisation `profile`; confidence is in [0, 1]; characters and
    dictionary words are counts. `seconds` is the time of both readings.
    """

    accept: bool
    reason: str
    engine: str = "none"
    note: str | None = None
    profile: str | None = None
    cer_before: float | None = None
    cer_after: float | None = None
    wer_before: float | None = None
    wer_after: float | None = None
    word_f_before: float | None = None
    word_f_after: float | None = None
    confidence_before: float | None = None
    confidence_after: float | None = None
    chars_before: int | None = None
    chars_after: int | None = None
    dictionary_before: int | None = None
    dictionary_after: int | None = None
    seconds: float | None = None


class Scorer:
    """Compares pages with one OCR engine, which is loaded once.

    `engine` is one of easyocr, rapidocr, tesseract, none; `truth` a folder of true texts (see `text.truth_of`).
    Raises UsageError for an unknown engine or a truth that is not a folder, MissingError for an absent engine.
    """

    def __init__(self, engine: str, truth: Path | None, device: str) -> None:
        if truth is not None and not truth.is_dir():
            raise UsageError(f"truth {truth} is not a folder: give one with STEM.txt or STEM.hocr files")
        self._engine = ocr.engine(engine, device)
        self._truth = truth

    def compare(self, before: np.ndarray, after: np.ndarray, stem: str, page: int) -> Comparison:
        """Scores and verdict of a page (0 is the first) of the document called `stem`.

        `before` and `after` are uint8 or uint16 grey (H, W) or RGB (H, W, 3), or bool with True for paper, of one
        height and width: scores at two sizes cannot be compared. The verdict never sees the truth.
        """
        if before.shape[:2] != after.shape[:2]:
            raise UsageError(f"pages of {before.shape[:2]} and {after.shape[:2]} pixels: one size is compared")
        before, after = _eight_bit(before), _eight_bit(after)
        if self._engine is None:
            verdict = gate.ink_verdict(before, after)
            return Comparison(verdict.accept, verdict.reason)
        read_before, read_after = self._engine.read(before), self._engine.read(after)
        if read_before.characters < gate.FEWEST_CHARACTERS:
            verdict = gate.ink_verdict(before, after)
        else:
            verdict = gate.reading_verdict(read_before, read_after)
        true = text.truth_of(self._truth, stem, page) if self._truth else None
        wrong_before, wrong_after = _errors(true, read_before.text), _errors(true, read_after.text)
        return Comparison(
            verdict.accept,
            verdict.reason,
            engine=self._engine.name,
            note=self._engine.note,
            profile=None if true is None else PROFILE,
            cer_before=wrong_before.cer,
            cer_after=wrong_after.cer,
            wer_before=wrong_before.wer,
            wer_after=wrong_after.wer,
            word_f_before=wrong_before.word_f,
            word_f_after=wrong_after.word_f,
            confidence_before=read_before.confidence,
            confidence_after=read_after.confidence,
            chars_before=read_before.characters,
            chars_after=read_after.characters,
            dictionary_before=text.dictionary_hits(read_before.text),
            dictionary_after=text.dictionary_hits(read_after.text),
            seconds=read_before.seconds + read_after.seconds,
        )


class _Errors(NamedTuple):
    cer: float | None = None
    wer: float | None = None
    word_f: float | None = None


def _errors(true: str | None, read: str) -> _Errors:
    if true is None:
        return _Errors()
    return _Errors(text.cer(true, read, PROFILE), text.wer(true, read, PROFILE), text.words(true, read, PROFILE).f)


def _eight_bit(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    return (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
