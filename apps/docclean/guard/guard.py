"""Puts content back that a restored page lost, recoloured or invented, by classical means alone.

The guard splits the evenly lit given page into strokes and areas. Features of each mark tell content from dirt,
independently of the network. Content that the restored page no longer shows goes back, mark by mark.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from fastdiff.apps.docclean.guard.changes import Changes, compare
from fastdiff.apps.docclean.guard.lines import lost_lines
from fastdiff.apps.docclean.guard.mark_classifier import load_classifier
from fastdiff.apps.docclean.guard.marks import FAINTEST, Marks, faintest_stroke, find_areas, find_strokes
from fastdiff.apps.docclean.guard.photographs import find_photographs, smooth_grain
from fastdiff.apps.docclean.imaging import illumination
from fastdiff.apps.docclean.imaging.layers import split, working_copy
from fastdiff.apps.docclean.imaging.regions import Region, put_back
from fastdiff.apps.docclean.imaging.strokes import without_specks

STROKES, AREAS = 0.2, 0.7  # probability of content from which a mark is put back
GONE = 0.3  # share of a stroke that is gone or recoloured
SPECK = 20  # pixels: a smaller stroke may be grain of the paper, if it is not
CLEAR = 1.3  # times as dark as grain hardly ever gets, and
CROWD, COMPANY = 41, 30  # pixels a side of the square around it, in which fewer pixels are of lost strokes
ENDS, LEAST_GAP = 3, 6  # pixels from the rest of a stroke, and pixels farther away, from which a gap goes back
CHANGED = 0.3  # share of an area that changed
THIN = 12  # pixels at half size: narrower areas may be letters, whose ink takes less room on a sharper page
FIGURE = 0.5  # share of their box that joined areas fill: above it the box is a figure
LEAST_FIGURE = 0.004  # of the page
JOINED = 1 / 150  # of the longer side: gap over which marks are one region
CORE = 1 / 25  # of the longer side: largest core of a shadow; larger areas are figures
FAR = 41  # pixels at half size a side of the square around parts of figures that holds their small parts
RING = 6  # pixels at half size around an area
OPEN = 0.25  # share of these outside of other areas, and
SOFT = 0.55  # share of the area's darkness from which they belong to one shadow
ROWS = 512  # blended at a time, and
MARGIN = 64  # overlap above and below, farther than a blend reaches


@dataclass(frozen=True)
class GuardResult:
    """The restored page with its content back, and the regions that went back.

    `share`, in [0, 1], is the share of strokes that went back, not counting strokes inside areas: a page with little
    but a photograph is fine. `areas` is the mask of areas that went back, bool, smaller than a large page (h, w).
    """

    pixels: np.ndarray
    regions: tuple[Region, ...]
    share: float
    areas: np.ndarray

    @property
    def cover(self) -> float:
        """The share of the page that these areas cover, in [0, 1]."""
        return float(self.areas.mean())


def guard(evened: np.ndarray, restored: np.ndarray) -> GuardResult:
    """Put content of the evened-out page back into the restored page.

    Both are uint8 or uint16 of one shape, grey (H, W) or RGB (H, W, 3).
    """
    before = split(working_copy(evened))
    after = split(working_copy(restored), before.paper)
    changes = compare(before, after)
    strokes, areas = find_strokes(before), find_areas(before)
    content = load_classifier("strokes")(strokes.features) > STROKES, load_classifier("areas")(areas.features) > AREAS
    dirt = ~content[1][areas.labels] & (areas.labels > 0)
    gone, recoloured = lost_strokes(strokes, changes, content[0], before.strokes)
    lost = lost_areas(areas, changes, content[1], before.depth)
    photographs = find_photographs(before, after, content[1][areas.labels] & (areas.labels > 0))
    causes = {
        "strokes gone": _grown(gone) | lost_lines(before, after),
        "strokes recoloured": _grown(recoloured),
        "area changed": _stretched(_whole_figures(lost, dirt), gone.shape),
        "strokes invented": _grown(changes.new),
        "photograph": photographs,
    }
    areas_back = causes["area changed"]
    strokes_back = np.logical_or.reduce([part for cause, part in causes.items() if cause.startswith("strokes")])
    gain = np.maximum((after.ground + np.float32(1)) / (before.ground + np.float32(1)), 1)
    page = _blend(restored, evened, gain, strokes_back, areas_back)
    return GuardResult(
        _with_photographs(page, evened, photographs),
        tuple(region for cause, part in causes.items() for region in _regions(part, cause, evened.shape)),
        _share(content[0][strokes.labels] & (strokes.labels > 0), gone | recoloured, areas_back),
        areas_back,
    )


def lost_strokes(
    marks: Marks, changes: Changes, content: np.ndarray, darkness: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks, bool (H, W) each, of strokes of content that are gone (or parts of them) and recoloured.

    `darkness` (H, W) is that of the strokes of the evened-out page. Lone specks as dark as the grain of its paper are
    no content.
    """
    gone = marks.share_of(changes.gone)
    recoloured = marks.share_of(changes.recoloured & ~changes.gone)
    changed = content & (gone + recoloured > GONE)
    changed[0] = False
    grain = _grain(marks, changed, darkness)
    changed, content = changed & ~grain, content & ~grain
    turned = (changed & (gone < recoloured))[marks.labels]
    strokes = content[marks.labels] & (marks.labels > 0)
    gaps = _gaps(strokes & changes.gone, strokes & ~changes.gone) & ~turned
    return (changed & (gone >= recoloured))[marks.labels] | gaps, turned


def _grain(marks: Marks, lost: np.ndarray, darkness: np.ndarray) -> np.ndarray:
    """Return which of the lost marks, bool (N + 1,), are grain: small, hardly darker than grain gets, and alone.

    Pale dots count as grain only on paper whose grain is stronger than the faintest strokes.
    """
    faintest = faintest_stroke(darkness)
    if faintest <= FAINTEST:
        return np.zeros_like(lost)
    pale = lost & (marks.sizes < SPECK) & (marks.share_of(darkness > CLEAR * faintest) < GONE)
    around = cv2.boxFilter(lost[marks.labels].astype(np.float32), -1, (CROWD, CROWD), normalize=False)
    grain: np.ndarray = pale & (marks.share_of(around < COMPANY) > 0.5)
    return grain


def _gaps(gone: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the parts of `gone` around places away from the rest `left` of the strokes, all bool (H, W)."""
    away = gone & ~_grown(left, ENDS)
    gaps: np.ndarray = gone & _grown(without_specks(away, LEAST_GAP), ENDS + 1)
    return gaps


def lost_areas(marks: Marks, changes: Changes, content: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the areas of content that changed, bool at half size; letters that got sharper and darker do not count.

    `depth` is the darkness of the ground relative to the paper. The small core of a shadow, whose surroundings are dark
    as well, is no content.
    """
    changed = marks.share_of(changes.ground_gone | changes.ground_recoloured)
    inked = marks.share_of((changes.ground_gone & changes.paler) | changes.ground_recoloured)
    thin = marks.sizes < THIN * np.maximum(marks.boxes[:, 2], marks.boxes[:, 3])
    chosen = content & (np.where(thin, inked, changed) > CHANGED)
    chosen[0] = False
    longest = np.maximum(marks.boxes[:, 2], marks.boxes[:, 3])
    small = chosen & (longest <= CORE * max(depth.shape))
    figures = cv2.dilate((chosen & ~small)[marks.labels].astype(np.uint8), np.ones((FAR, FAR), np.uint8)) > 0
    for label in np.flatnonzero(small).tolist():
        chosen[label] = not _is_core(marks.labels, label, marks.boxes[label], depth, figures)
    lost: np.ndarray = chosen[marks.labels]
    return lost


def _is_core(labels: np.ndarray, label: int, box: np.ndarray, depth: np.ndarray, figures: np.ndarray) -> bool:
    """True if an area lies apart from figures on ground that, other areas aside, is nearly as dark as the area."""
    left, top, width, height = box[:4].tolist()
    part = np.s_[max(top - RING, 0) : top + height + RING, max(left - RING, 0) : left + width + RING]
    inside = labels[part] == label
    near = cv2.dilate(inside.astype(np.uint8), np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)) > 0
    ring = near & (labels[part] == 0)
    if np.count_nonzero(ring) < OPEN * np.count_nonzero(near & ~inside) or figures[part][inside].any():
        return False
    return bool(depth[part][ring].mean() > SOFT * depth[part][inside].mean())


def _blend(
    restored: np.ndarray, evened: np.ndarray, gain: np.ndarray, strokes: np.ndarray, areas: np.ndarray
) -> np.ndarray:
    """Blend strokes and areas (masks of any size) of the evened-out page into the restored page, band by band.

    Strokes are multiplied by `gain` (h, w, 3), the restored ground over their former ground: they bring no stain along.
    """
    height, white = len(restored), np.iinfo(restored.dtype).max
    gain = gain if restored.ndim == 3 else gain.mean(axis=2)
    out = np.empty_like(restored)
    for top in range(0, height, ROWS):
        outer = slice(max(top - MARGIN, 0), min(top + ROWS + MARGIN, height))
        band, light = evened[outer], illumination.upsampled_rows(gain, outer, *restored.shape[:2])
        lit = np.minimum(band * light, white).astype(restored.dtype)
        done = put_back(restored[outer], lit, rows_of(strokes, outer, restored.shape))
        done = put_back(done, band, rows_of(areas, outer, restored.shape))
        inner = slice(top, min(top + ROWS, height))
        out[inner] = done[inner.start - outer.start : inner.stop - outer.start]
    return out


def _with_photographs(page: np.ndarray, evened: np.ndarray, photographs: np.ndarray) -> np.ndarray:
    """Return the page with the photographs (a mask of any size) of the evened-out page, without most of their grain."""
    for top in range(0, len(page), ROWS):
        outer = slice(max(top - MARGIN, 0), min(top + ROWS + MARGIN, len(page)))
        inside = rows_of(photographs, outer, page.shape)
        if inside.any():
            done = put_back(page[outer], smooth_grain(evened[outer]), inside)
            inner = slice(top, min(top + ROWS, len(page)))
            page[inner] = done[inner.start - outer.start : inner.stop - outer.start]
    return page


def rows_of(mask: np.ndarray, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
    """Return rows of a mask, enlarged to a page of `shape`."""
    down = np.arange(rows.start, rows.stop) * len(mask) // shape[0]
    across = np.arange(shape[1]) * mask.shape[1] // shape[1]
    enlarged: np.ndarray = mask[down[:, None], across]
    return enlarged


def _whole_figures(lost: np.ndarray, dirt: np.ndarray) -> np.ndarray:
    """Return areas with the steep edges between them; joined areas that fill most of their box, with little dirt,
    become the box.
    """
    width = round(max(lost.shape) * JOINED) | 1
    parts = lost.astype(np.uint8)
    closed = cv2.morphologyEx(parts, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    joined = cv2.bitwise_and(cv2.dilate(closed, np.ones((5, 5))), cv2.dilate(parts, np.ones((9, 9))))
    stats = cv2.connectedComponentsWithStats(joined)[2]
    for left, top, wide, high, size in stats[1:]:
        box = np.s_[top : top + high, left : left + wide]
        dirty = dirt[box].sum()
        if wide * high > LEAST_FIGURE * lost.size and size > FIGURE * wide * high and 2 * dirty < lost[box].sum():
            joined[box] = 1
    return joined > 0


def _grown(mask: np.ndarray, reach: int = 2) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0


def _stretched(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    resized = cv2.resize(mask.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return resized > 0


def _regions(mask: np.ndarray, cause: str, shape: tuple[int, ...]) -> list[Region]:
    """Return the regions of the parts of a mask, in pixels of the page; near parts share a region."""
    width = round(max(mask.shape) * JOINED) | 1
    joined = cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8))
    _, labels = cv2.connectedComponents(joined)
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]] * 2)
    regions = []
    for rows, columns in ndimage.find_objects(np.where(mask, labels, 0)):
        box = np.round(np.array([columns.start, rows.start, columns.stop, rows.stop]) * scale).astype(int)
        regions.append(Region(tuple(box.tolist()), cause, "put back"))
    return regions


def _share(content: np.ndarray, lost: np.ndarray, areas: np.ndarray) -> float:
    """Return the share of `content` that is `lost` outside `areas`: bool (H, W) each."""
    whole = np.count_nonzero(content & ~areas)
    return float(np.count_nonzero(lost & ~areas) / whole) if whole else 0.0
