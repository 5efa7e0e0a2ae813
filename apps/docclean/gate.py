"""Do no harm: whether a cleaned page may replace the page as it came, judged without knowing the true text.

Pages with text are judged by what an OCR engine reads before and after; pages with next to no text (drawings, blank
pages, pages too blurred to read) by whether their ink is still there.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.ocr import Reading
from fastdiff.apps.docclean.text import dictionary_hits

FEWEST_CHARACTERS = 20  # a page with fewer before cleaning is judged by its ink


@dataclass(frozen=True)
class Verdict:
    """Whether the cleaned page is accepted, and why in one sentence."""

    accept: bool
    reason: str


def reading_verdict(before: Reading, after: Reading) -> Verdict:
    """Accept unless dictionary words, confidence or characters were lost.

    Words may fall by 2 % and confidence by 0.02, which an engine varies by itself; characters by 10 %, and they may
    rise, since a blurred page gives up more of its text once it is sharp.
    """
    hits_before, hits_after = dictionary_hits(before.text), dictionary_hits(after.text)
    if after.characters < 0.9 * before.characters:
        return Verdict(False, f"characters read fell from {before.characters} to {after.characters}")
    if hits_after < 0.98 * hits_before:
        return Verdict(False, f"dictionary words fell from {hits_before} to {hits_after}")
    if after.confidence < before.confidence - 0.02:
        return Verdict(False, f"OCR confidence fell from {before.confidence:.2f} to {after.confidence:.2f}")
    return Verdict(True, f"reads as well as before: {hits_after} dictionary words, {hits_before} before")


LONGEST_SIDE = 2000  # larger pages are shrunk to it, about 180 dpi for A4: strokes, not pixels, are followed
LEAST_RETENTION = 0.95
REACH = 3  # pixels a stroke may move or thin by, the blur of a page that is still worth sharpening
SPECK = 9  # pixels; at most 0.4 mm across on A4


def ink_verdict(before: np.ndarray, after: np.ndarray) -> Verdict:
    """Accept where at least `LEAST_RETENTION` of the ink that is surely there before has ink within `REACH` after.

    `before` and `after` are uint8 grey (H, W) or RGB (H, W, 3) of one size. Surely ink is what is darker than the
    paper around it by half the contrast of the page's darkest strokes, but at least 0.2 and at most 0.4 of the paper's
    level: on the stained pages of NoisyOffice 99.9 % of the paper stays below 0.3 and 99 % of the ink is above 0.6,
    and faint hands of DIBCO lie between 0.2 and 0.4. Half of that threshold is asked of the ink after.
    """
    before, after = _shrunk_grey(before), _shrunk_grey(after)
    contrast = _ink_contrast(before)
    threshold = np.clip(0.5 * np.percentile(contrast, 99.9), 0.2, 0.4)
    sure = _without_specks(contrast > threshold)
    if not sure.any():
        return Verdict(True, "hardly any text and no ink to lose")
    reach = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    there = cv2.dilate((_ink_contrast(after) > threshold / 2).astype(np.uint8), reach) > 0
    retention = np.count_nonzero(sure & there) / np.count_nonzero(sure)
    return Verdict(bool(retention >= LEAST_RETENTION), f"hardly any text, and {retention:.1%} of the ink is still there")


def _ink_contrast(grey: np.ndarray) -> np.ndarray:
    """How much darker each pixel is than its paper, as a share of the paper's level: float32 (H, W) in [0, 1].

    A stroke's paper is the grey closing by a square wider than any stroke, which fills strokes and leaves stains and
    shadows; for solid areas wider than that, half of the darkness against the page's 95th percentile counts.
    """
    width = max(15, max(grey.shape) // 40) | 1
    paper = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8)).astype(np.float32)
    stroke = 1 - grey / np.maximum(paper, 1)
    solid = 0.5 * (1 - grey / np.maximum(np.percentile(grey, 95), 1))
    return np.maximum(stroke, solid).astype(np.float32)


def _without_specks(ink: np.ndarray) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] > SPECK
    large[0] = False  # the label of what is not ink
    return large[labels]


def _shrunk_grey(pixels: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    scale = LONGEST_SIDE / max(grey.shape)
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
