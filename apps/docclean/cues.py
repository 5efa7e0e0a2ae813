"""What a page needs, told from its pixels: how wide are the edges of its ink, against the height of its letters?"""

from dataclasses import dataclass

import cv2
import numpy as np

BLURRED = 0.22  # edge width in glyph heights from which a page counts as blurred
SHARPEST = 3.2  # pixels: edges of fair scans measure 2.5 to 3.0, whatever the size of the letters
LONGEST_SIDE = 3000  # pixels of the working copy


@dataclass(frozen=True)
class Cues:
    """Measured on the page, in its pixels; 0 where there is no text to measure."""

    glyph_height: float  # median height of letter-like components
    edge_width: float  # median over the ink's outline of contrast / steepest slope

    @property
    def task(self) -> str:
        blurred = self.edge_width > max(SHARPEST, BLURRED * self.glyph_height)
        return "deblur" if self.glyph_height and blurred else "clean"

    @property
    def reason(self) -> str:
        if not self.glyph_height:
            return "no letters found to judge sharpness by"
        ratio = self.edge_width / self.glyph_height
        state = "blurred" if self.task == "deblur" else "sharp"
        return f"{state}: edges {self.edge_width:.1f} px wide on {self.glyph_height:.0f} px letters ({ratio:.2f})"


def measure(grey: np.ndarray) -> Cues:
    """Cues of a page, uint8 (H, W)."""
    scale = min(1.0, LONGEST_SIDE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(grey, (0, 0), 0.7).astype(np.float32)
    span = max(15, min(grey.shape) // 40) | 1
    kernel = np.ones((span, span), np.uint8)
    bright, dark = cv2.dilate(image, kernel), cv2.erode(image, kernel)
    contrast = bright - dark
    ink = (image < (bright + dark) / 2) & (contrast > max(30.0, 0.4 * float(np.percentile(contrast, 98))))
    height = _glyph_height(ink)
    if not height:
        return Cues(0.0, 0.0)
    outline = ink & (cv2.erode(ink.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    slope = np.hypot(cv2.Sobel(image, -1, 1, 0, scale=1 / 8), cv2.Sobel(image, -1, 0, 1, scale=1 / 8))
    width = contrast[outline] / np.maximum(cv2.dilate(slope, np.ones((3, 3), np.uint8))[outline], 1e-3)
    return Cues(height / scale, float(np.median(width)) / scale)


def _glyph_height(ink: np.ndarray) -> float:
    """Median height of components of the proportions of letters, 0 if there are fewer than ten."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    heights, widths, areas = (stats[1:, k] for k in (cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH, cv2.CC_STAT_AREA))
    letters = (heights >= 4) & (heights < ink.shape[0] / 4) & (widths < 8 * heights) & (areas > 0.1 * heights * widths)
    return float(np.median(heights[letters])) if np.count_nonzero(letters) >= 10 else 0.0
