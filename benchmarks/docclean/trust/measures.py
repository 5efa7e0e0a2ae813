"""Measures the known content of a page that remains: words, colours, pictures, fine strokes; and the dirt.

Pages are uint8, grey (H, W) or RGB (H, W, 3). The truth of every measure is the evened page of `DirtyPage`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from benchmarks.docclean.trust.canvas import Box, KnownPage, Word
from fastdiff.apps.docclean.ocr import text_metrics
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading

SMOOTH = 2.0  # pixels over which colours are averaged against noise
CHROMA = 8.0  # CIELAB chroma from which a pixel is coloured
TOLERANCE = 10.0  # CIEDE2000 within which a colour is the same
ALONG = 9  # pixels along a stroke over which its contrast is averaged
ACROSS = 5  # pixels beside a stroke at which its ground is measured
FAINTEST = 6 / 255  # contrast below which a stroke cannot be measured
HALF = 0.5  # share of its true contrast from which a stroke counts as kept
CONTENT = 0.015  # difference from the paper, of any channel, from which a pixel is content
REACH = 6  # pixels by which content is widened: as far as blur carries it
BESIDE = 1.5  # letters by which a fragment must reach beyond a word to hold more text
SIMILARITY_WINDOW = 7  # pixels, the default of SSIM
SHORTEST = 3  # letters of a word without digits that counts
SIGNS = "-+/%.,"  # signs that count when numbers are compared


def content(known: KnownPage) -> np.ndarray:
    """Return the mask (H, W) of content and its blur: pixels that differ from the paper, and pictures, widened."""
    apart = np.abs(known.pixels.astype(np.float32) - known.paper).max(axis=-1) > 255 * CONTENT
    for left, top, right, bottom in known.pictures:
        apart[top:bottom, left:right] = True
    side = 2 * REACH + 1
    return cv2.dilate(apart.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def squared_error(pixels: np.ndarray, evened: np.ndarray, outside: np.ndarray) -> float:
    """Return the sum of the squared errors, white = 1, in the mask `outside` (H, W)."""
    error = (_rgb(pixels)[outside].astype(np.float32) - _rgb(evened)[outside]) / 255
    return float(np.sum(error.astype(float) ** 2))


def colours_kept(pixels: np.ndarray, evened: np.ndarray) -> tuple[int, int]:
    """Return the number of coloured pixels of the evened page within TOLERANCE of their colour, and that of all."""
    truth, result = (rgb2lab(cv2.GaussianBlur(_rgb(each), (0, 0), SMOOTH)) for each in (evened, pixels))
    coloured = np.hypot(truth[..., 1], truth[..., 2]) > CHROMA
    difference = deltaE_ciede2000(truth[coloured], result[coloured])
    return int(np.count_nonzero(difference <= TOLERANCE)), int(np.count_nonzero(coloured))


def similarity(pixels: np.ndarray, evened: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Return the SSIM of a picture in grey, in the part of its box that is on the page."""
    left, top, right, bottom = box
    shown, true = (_grey(each)[top:bottom, left:right] for each in (pixels, evened))
    return float(structural_similarity(shown, true, win_size=SIMILARITY_WINDOW, data_range=255))


def strokes_kept(pixels: np.ndarray, evened: np.ndarray, strokes: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the pixels along strokes, polylines (n, 2), with HALF of their true contrast or more, and all with any.

    Contrast is the colour of the stroke minus that of its ground to both sides, along the true difference.
    """
    kept = measured = 0
    for points in strokes:
        true, shown = (_contrast(_rgb(each), points) for each in (evened, pixels))
        strength = np.linalg.norm(true, axis=1)
        there = strength > FAINTEST
        along = (shown * true).sum(axis=1)[there] / strength[there] ** 2
        kept += int(np.count_nonzero(along >= HALF))
        measured += int(np.count_nonzero(there))
    return kept, measured


def _contrast(page: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the colour of a stroke minus that of its ground, (n, 3) with white = 1, at every pixel of its length."""
    places, normal = _walk(points)
    smooth = cv2.blur(page.astype(np.float32) / 255, (3, 3))
    stroke = _sampled(smooth, places)
    sides = [_sampled(smooth, places + shift * normal) for shift in (-ACROSS, ACROSS)]
    ground = np.maximum(*sides)
    difference = stroke - ground
    width = min(ALONG, len(difference))
    return cv2.blur(np.ascontiguousarray(difference[:, None]), (1, width), borderType=cv2.BORDER_REPLICATE)[:, 0]


def _walk(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return places (n, 2) a pixel apart along a polyline, and the direction across it at each."""
    steps = np.diff(points, axis=0)
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
    at = np.arange(0, max(lengths[-1], 1))
    places = np.stack([np.interp(at, lengths, points[:, axis]) for axis in (0, 1)], axis=1)
    forward = np.gradient(places, axis=0) if len(places) > 1 else np.array([[1.0, 0.0]])
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-6)
    return places.astype(np.float32), np.stack([-forward[:, 1], forward[:, 0]], axis=1).astype(np.float32)


def _sampled(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    x, y = np.ascontiguousarray(places[:, :1], np.float32), np.ascontiguousarray(places[:, 1:], np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]


def read_right(words: Sequence[Word], reading: Reading) -> np.ndarray:
    """Return the mask, bool (n,), of words that are read at their place, ignoring case and blanks."""
    fragments = [fragment for line in reading.lines for fragment in line]
    return np.array([stands(word.text, word.box, fragments) for word in words], bool)


def stands(wanted: str, box: Box, fragments: Sequence[Fragment]) -> bool:
    """True if a word of this box is part of the text read there.

    Fragments of a line are joined. More text may stand on a side where fragments reach beyond the box; the word has to
    be about where its box is.
    """
    here = sorted((each for each in fragments if _meets(box, each.box)), key=lambda each: each.box[0])
    if not here:
        return False
    signs = SIGNS if _has_digit(wanted) else ""
    wanted, read = _compared(wanted, signs), _compared("".join(each.text for each in here), signs)
    left, right = min(each.box[0] for each in here), max(each.box[2] for each in here)
    letter = (box[2] - box[0]) / max(len(wanted), 1)
    before, after = box[0] - left > BESIDE * letter, right - box[2] > BESIDE * letter
    if not before and not after:
        return read == wanted
    starts = [at for at in range(len(read) - len(wanted) + 1) if read.startswith(wanted, at)]
    starts = [at for at in starts if (before or at == 0) and (after or at + len(wanted) == len(read))]
    expected = (box[0] - left) / max(right - left, 1) * len(read)
    return any(abs(at - expected) <= 3 + 0.1 * len(read) for at in starts)


def is_true(read: str, box: Box, words: Sequence[Word]) -> bool:
    """True if the text read in a box is printed there."""
    here = sorted((word for word in words if _meets(box, word.box)), key=lambda word: word.box[0])
    signs = SIGNS if _has_digit(read) else ""
    return _compared(read, signs) in _compared("".join(word.text for word in here), signs)


def _meets(box: Box, other: Box) -> bool:
    """True if two boxes are in one line and share a third of the width of the narrower."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    narrower, lower = min(box[2] - box[0], other[2] - other[0]), min(box[3] - box[1], other[3] - other[1])
    return across > narrower / 3 and down > lower / 2


def judged(word: Word) -> bool:
    """True if a word is long enough to differ from specks read as letters."""
    return len(word.text) >= SHORTEST or _has_digit(word.text)


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _compared(read: str, signs: str) -> str:
    """Return letters, digits and `signs` without case; a stop or comma at the end belongs to the sentence."""
    kept = (letter for letter in text_metrics.standard(read).casefold() if letter.isalnum() or letter in signs)
    return "".join(kept).rstrip(".,")


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
