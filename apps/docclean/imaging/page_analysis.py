"""Analyses the pixels of a page for the cleaning that it needs: sharpness of its letters, flaws of its paper."""

from dataclasses import dataclass

import cv2
import numpy as np

BLURRED = 0.26  # edge width in glyph heights from which a page counts as blurred
SHARPEST = 3.65  # pixels: edges measure 2.5 to 3.1 on fair scans, up to 3.6 on stained pages, whatever their letters
DIRECTIONS = 4  # bins of edge directions: camera shake leaves the edges along it sharp
FEWEST_EDGES = 30  # fewest pixels of a direction that is measured
LONGEST_SIDE = 3000  # pixels of the working copy
WHITE = 250  # grey level of flawless paper
STEEP = 30  # grey levels between neighbours at the edge of ink, more than at stains or on paper
FLAWS = 0.001  # share of pixels with flaws, and
SPECKS = 0.05  # number of isolated specks per letter, that a flawless page may have


@dataclass(frozen=True)
class PageAnalysis:
    """Measures of a page, in its pixels; lengths are 0 without text to measure."""

    glyph_height: float  # median height of letter-like components
    edge_width: float  # contrast / steepest slope: median over the ink's outline, of the widest direction
    spotless: bool  # white paper with nothing on it but steep edges and the areas they enclose

    @property
    def task(self) -> str:
        """The task of the page: "deblur", "clean", or "none" for a page that is clean already."""
        if self.glyph_height and self.edge_width > max(SHARPEST, BLURRED * self.glyph_height):
            return "deblur"
        return self.task_if_sharp

    @property
    def task_if_sharp(self) -> str:
        """The task of the page if its blur is ignored: "clean" or "none"."""
        return "none" if self.spotless else "clean"

    @property
    def reason(self) -> str:
        paper = "white paper without a stain, " if self.task == "none" else ""
        if not self.glyph_height:
            return paper + "no letters found to judge sharpness by"
        ratio = self.edge_width / self.glyph_height
        state = "blurred" if self.task == "deblur" else "sharp"
        edges = f"{state}: edges {self.edge_width:.1f} px wide on {self.glyph_height:.0f} px letters ({ratio:.2f})"
        return paper + edges


def analyze(grey: np.ndarray) -> PageAnalysis:
    """Analyse a page, uint8 (H, W)."""
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
    spotless = _spotless(grey, height)
    if not height:
        return PageAnalysis(0.0, 0.0, spotless)
    outline = ink & (cv2.erode(ink.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    across, down = cv2.Sobel(image, -1, 1, 0, scale=1 / 8), cv2.Sobel(image, -1, 0, 1, scale=1 / 8)
    slope = cv2.dilate(np.hypot(across, down), np.ones((3, 3), np.uint8))[outline]
    width = contrast[outline] / np.maximum(slope, 1e-3)
    return PageAnalysis(height / scale, _widest(width, np.arctan2(down[outline], across[outline])) / scale, spotless)


def _widest(width: np.ndarray, angle: np.ndarray) -> float:
    """Return the largest median of edge widths (n,) over the directions of edges; angles (n,) are in radians."""
    direction = np.rint(angle / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    sorted_ = (width[direction == each] for each in range(DIRECTIONS))
    return max((float(np.median(each)) for each in sorted_ if len(each) >= FEWEST_EDGES), default=0.0)


def _glyph_height(ink: np.ndarray) -> float:
    """Return the median height of components with the proportions of letters; 0 if there are fewer than ten."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    heights, widths, areas = (stats[1:, k] for k in (cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH, cv2.CC_STAT_AREA))
    letters = (heights >= 4) & (heights < ink.shape[0] / 4) & (widths < 8 * heights) & (areas > 0.1 * heights * widths)
    return float(np.median(heights[letters])) if np.count_nonzero(letters) >= 10 else 0.0


def _spotless(grey: np.ndarray, glyph_height: float) -> bool:
    """True if the paper is white, or computer-drawn flat shading, with hardly any specks."""
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > STEEP
    paper = cv2.dilate(edges.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    varied = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    flaws = np.count_nonzero(paper & varied & (grey < WHITE))
    if not paper.any() or np.median(grey[paper]) < WHITE or flaws > FLAWS * grey.size:
        return False
    return _specks(grey < 128, glyph_height) <= SPECKS


def _specks(ink: np.ndarray, glyph_height: float) -> float:
    """Return the share of components that are tiny and at least half a glyph away from all others."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    sizes = stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]].max(axis=1)
    tiny = sizes <= max(1, 0.1 * glyph_height)
    letters = (ink & ~tiny[labels]).astype(np.uint8)
    reach = round(glyph_height) | 1
    apart = cv2.dilate(letters, np.ones((reach, reach), np.uint8)) == 0
    column, row = centres[tiny].round().astype(int).T
    return float(np.count_nonzero(apart[row, column]) / max(count - 1, 1))
