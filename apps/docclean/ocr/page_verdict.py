"""The verdict on a cleaned page: may it replace the given page? Judged without the true text.

Pages that an OCR engine can read are judged by their readings before and after. Other pages (drawings, blank pages,
handwriting and old prints that the engine only guesses at) are judged by their ink. Lost numbers are counted in
content_protection.py; page_cleaner.py decides by both.
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import strokes
from fastdiff.apps.docclean.ocr.engines import Reading
from fastdiff.apps.docclean.ocr.text_metrics import dictionary_hits
from fastdiff.apps.docclean.ocr.word_comparison import is_word, overlap

FEWEST_CHARACTERS = 20  # on a page that can be read
LEAST_CONFIDENCE = 0.5  # of a legible page: easyocr has at most 0.5 on the handwriting of DIBCO, at least 0.7 on print
# The dictionary knows 0.92 and more of the words of letters on sharp documents and, by rapidocr, at most 0.92 on
# blurred ones, of which rapidocr reads a tenth and more wrong. easyocr has a confidence of 0.76 and more on sharp
# pages, of 0.41 at most on blurred ones.
WELL_READ = 0.75  # confidence of a well-read page, and
KNOWN = 0.92  # share of the dictionary among its words of letters

# Between the stained pages of NoisyOffice and their clean originals easyocr varies by 2 words and by 0.06, on 35 of 36.
FEWER_WORDS = 2
LESS_CONFIDENCE = 0.06
GUESSED = 0.3  # confidence below which a reading is a guess, as at pencil marks: guesses cannot be lost


@dataclass(frozen=True)
class Verdict:
    """The decision on a cleaned page, and its reason in one sentence."""

    accept: bool
    reason: str


def is_legible(page: Reading) -> bool:
    """True if the engine read enough of the page, with enough confidence, to tell good cleaning from bad."""
    return page.characters >= FEWEST_CHARACTERS and page.confidence >= LEAST_CONFIDENCE


def is_well_read(page: Reading) -> bool:
    """True if the engine reads the page so well that deblurring has little to add."""
    words = [word for word in page.words if re.search(r"[A-Za-z]{3}", word.text)]
    known = sum(is_word(word.text) for word in words)
    return is_legible(page) and page.confidence >= WELL_READ and known >= KNOWN * len(words)


def reading_verdict(before: Reading, after: Reading) -> Verdict:
    """Accept unless dictionary words, confidence or characters were lost.

    Tolerances: dictionary words other than guesses -2 % (at least FEWER_WORDS), confidence -LESS_CONFIDENCE (the
    engine's own run-to-run variation), characters -10 %. No upper bound on characters: a sharpened page yields more
    text.

    Confidence counts only words that changed: on one and the same word an engine may be surer on grained paper than on
    the clean original. Newly found text, of which engines are often unsure, does not count either.
    """
    read = (fragment.text for line in before.lines for fragment in line if fragment.confidence >= GUESSED)
    hits_before, hits_after = dictionary_hits("\n".join(read)), dictionary_hits(after.text)
    if after.characters < 0.9 * before.characters:
        return Verdict(False, f"characters read fell from {before.characters} to {after.characters}")
    if hits_after < min(0.98 * hits_before, hits_before - FEWER_WORDS):
        return Verdict(False, f"dictionary words fell from {hits_before} to {hits_after}")
    confidence = _confidence_after(before, after)
    if confidence < before.confidence - LESS_CONFIDENCE:
        return Verdict(False, f"OCR confidence fell from {before.confidence:.2f} to {confidence:.2f}")
    return Verdict(True, f"reads as well as before: {hits_after} dictionary words, {hits_before} before")


def _confidence_after(before: Reading, after: Reading) -> float:
    """Return the confidence of the words that overlap words read before; unchanged words count with at least their
    former confidence.

    The mean is weighted by characters, as in `Reading.confidence`; 1 without such words.
    """
    old, new = before.words, after.words
    same = overlap(new, old)
    sums = np.zeros(2)
    for index, word in enumerate(new):
        here = [old[other] for other in np.flatnonzero(same[index]).tolist()]
        stays = [each.confidence for each in here if each.text == word.text]
        sums += len(word.text) * bool(here) * np.array([max([word.confidence, *stays]), 1])
    return float(sums[0] / sums[1]) if sums[1] else 1.0


LONGEST_SIDE = 2000  # larger pages are shrunk to it, about 180 dpi for A4: strokes matter, not pixels
LEAST_RETENTION = 0.95
REACH = 3  # pixels a stroke may move or thin by: the blur of a page that is still worth sharpening
SPECK = 9  # pixels; at most 0.4 mm across on A4


def ink_verdict(before: np.ndarray, after: np.ndarray) -> Verdict:
    """Accept if at least `LEAST_RETENTION` of the sure ink before has ink within `REACH` after.

    `before` and `after` are uint8 grey (H, W) or RGB (H, W, 3) of one size. Sure strokes are darker than the paper
    around them by half the contrast of the page's darkest strokes, but at least 0.2 and at most 0.4 of the paper's
    level: on the stained pages of NoisyOffice 99.9 % of the paper stays below 0.3 and 99 % of the ink is above 0.6, and
    faint handwriting of DIBCO lies between 0.2 and 0.4. Sure solid ink is darker than stains and shadows, below 0.2 of
    the page's paper. After cleaning, half of the stroke contrast and 0.6 of the paper suffice.
    """
    before, after = _working_copy(before), _working_copy(after)
    contrast = strokes.contrast(before)
    threshold = np.clip(0.5 * np.percentile(contrast, 99.9), 0.2, 0.4)
    sure = strokes.without_specks((contrast > threshold) | _darker_than(0.2, before), SPECK + 1)
    if not sure.any():
        return Verdict(True, "little to read and no ink to lose")
    dark = (strokes.contrast(after) > threshold / 2) | _darker_than(0.6, after)
    there = cv2.dilate(dark.astype(np.uint8), np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)) > 0
    retention = np.count_nonzero(sure & there) / np.count_nonzero(sure)
    accept = bool(retention >= LEAST_RETENTION)
    return Verdict(accept, f"little to read, and {retention:.1%} of the ink is still there")


def _darker_than(share: float, grey: np.ndarray) -> np.ndarray:
    """Return the pixels below a share of the page's paper, which is its 95th percentile."""
    darker: np.ndarray = grey < share * np.percentile(grey, 95)
    return darker


def _working_copy(pixels: np.ndarray) -> np.ndarray:
    """Convert to grey, at most `LONGEST_SIDE` long, smoothed over 3 x 3 pixels against sensor noise."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    scale = min(1.0, LONGEST_SIDE / max(grey.shape))
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    shrunk = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(shrunk, (3, 3), 0)
