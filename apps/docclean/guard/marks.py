"""Finds the marks of an evened-out page, strokes and areas, and measures the features that tell content from dirt."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging.layers import Layers, channel_maximum

FAINTEST = 13  # least grey levels by which a stroke is darker than its ground
NOISE = 4.0  # standard deviations of the paper's noise above which a pixel is of a stroke
BESIDE = 0.4  # share of the darkest stroke nearby below which a pixel is of no stroke
PALEST = 8  # grey levels by which the ground of an area differs from the paper
STEEP = 9  # grey levels from pixel to pixel of the ground: the edge between two areas
FEWEST = 3  # pixels of a stroke
TEXTURE = 7  # pixels, in the ground's half size: steep ground at least as wide is a texture, no edge
SMALLEST = 10  # pixels of an area, in the ground's half size
NEAR = 1 / 24  # of the longer side: the neighbourhood of a mark


@dataclass(frozen=True)
class Marks:
    """The marks of one layer: `labels` int32 (h, w), 0 for the rest of the page, and features, float32 (N + 1, F).

    `sizes` (N + 1,) are in pixels of the labels; row 0 stands for the rest of the page.
    """

    labels: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray  # (N + 1, 4) left, top, width, height
    features: np.ndarray

    def share_of(self, mask: np.ndarray) -> np.ndarray:
        """Return the share of each mark that lies in a mask (h, w): float64 (N + 1,)."""
        inside = np.flatnonzero(self.labels)
        return _means(mask.ravel()[inside], self.labels.ravel()[inside], self.sizes)


def find_strokes(layers: Layers) -> Marks:
    """Find connected thin marks that are darker than their surroundings."""
    strokes = layers.strokes
    least = faintest_stroke(strokes)
    darkest = cv2.dilate(strokes, np.ones((7, 7), np.uint8))
    core = (strokes > least) & (strokes > BESIDE * darkest)
    labels, sizes, boxes = _connected(core, FEWEST)
    inside = np.flatnonzero(labels)
    which = labels.ravel()[inside]

    def mean(values: np.ndarray) -> np.ndarray:
        return _means(values.ravel()[inside], which, sizes)

    level = strokes.astype(np.float32)
    contrast = mean(level)
    square = mean(level * level)
    distance = cv2.distanceTransform(core.astype(np.uint8), cv2.DIST_L2, 3)
    absorbed = _absorption(layers.page, layers.paper)
    colours = np.stack([mean(absorbed[..., channel]) for channel in range(3)], axis=1)
    depth = cv2.resize(layers.depth, strokes.shape[::-1], interpolation=cv2.INTER_LINEAR)
    edge = _span(channel_maximum(layers.page))
    outline = core & (cv2.erode(core.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    reach = round(max(strokes.shape) * NEAR) | 1
    around = cv2.boxFilter(core.astype(np.float32), -1, (reach, reach))
    others = cv2.boxFilter(np.where(core, level, 0), -1, (reach, reach)) / np.maximum(around, 1e-4)
    tiny = np.where(core, (sizes < 12)[labels], False).astype(np.float32)
    specks = cv2.boxFilter(tiny, -1, (reach, reach)) / np.maximum(around, 1e-4)
    typical = float(np.quantile(level[core], 0.9)) if core.any() else 255.0
    width, height = boxes[:, 2].astype(np.float32), boxes[:, 3].astype(np.float32)
    longest, shortest = np.maximum(width, height), np.minimum(width, height)
    bordering = _touches_border(boxes, labels.shape)
    features = [
        np.log(sizes + 1),
        np.log(longest + 1),
        shortest / np.maximum(longest, 1),
        sizes / np.maximum(width * height, 1),
        2 * mean(distance),
        sizes / np.maximum(longest, 1),
        contrast / 64,
        np.sqrt(np.maximum(square - contrast**2, 0)) / np.maximum(contrast, 1),
        contrast / typical,
        contrast / np.maximum(mean(others), 1),
        mean(np.where(outline, edge, 0)) / np.maximum(mean(outline.astype(np.float32)), 0.02) / np.maximum(contrast, 1),
        mean(around) * 10,
        mean(specks),
        mean(depth.astype(np.float32)) / 32,
        bordering,
        *_colour_features(colours),
    ]
    return Marks(labels, sizes, boxes, np.stack(features, axis=1).astype(np.float32))


def find_areas(layers: Layers) -> Marks:
    """Find connected parts of the ground that differ from the paper, separated at steep edges."""
    depth, ground = layers.depth, layers.ground
    steps = channel_maximum(_span(ground))
    noise = float(np.median(steps))
    steep = steps > max(STEEP, 3 * noise)
    labels, sizes, boxes = _connected(_parted(depth > PALEST, steep), SMALLEST)
    inside = np.flatnonzero(labels)
    which = labels.ravel()[inside]

    def mean(values: np.ndarray) -> np.ndarray:
        return _means(values.ravel()[inside], which, sizes)

    level = depth.astype(np.float32)
    contrast, square = mean(level), mean(level * level)
    absorbed = _absorption(ground, layers.paper)
    colours = np.stack([mean(absorbed[..., channel]) for channel in range(3)], axis=1)
    rim, owner = _rim(labels)
    here = owner[rim]
    rims = np.maximum(np.bincount(here, minlength=len(sizes)), 1).astype(np.float32)

    def along(values: np.ndarray) -> np.ndarray:
        return np.bincount(here, values[rim], minlength=len(sizes)) / rims

    outside = along(level)
    brighter = along((level < 0.75 * contrast[owner]).astype(np.float32))
    paper_side = along((level <= PALEST).astype(np.float32))
    steepest = cv2.dilate(steps, np.ones((3, 3), np.uint8)).astype(np.float32)
    sharp = along((steepest > np.maximum(STEEP, 0.5 * contrast[owner])).astype(np.float32))
    aligned = _axis_aligned(ground)
    straight = along(aligned)
    fine = cv2.resize(_texture(layers.page), depth.shape[::-1], interpolation=cv2.INTER_AREA)
    strokes = cv2.resize(layers.strokes, depth.shape[::-1], interpolation=cv2.INTER_AREA)
    reach = round(max(depth.shape) * NEAR) | 1
    broken = cv2.boxFilter(steep.astype(np.float32), -1, (reach, reach))
    width, height = boxes[:, 2].astype(np.float32), boxes[:, 3].astype(np.float32)
    longest, shortest = np.maximum(width, height), np.minimum(width, height)
    features = [
        np.log(sizes + 1),
        np.log(longest + 1),
        shortest / np.maximum(longest, 1),
        sizes / np.maximum(width * height, 1),
        contrast / 64,
        np.sqrt(np.maximum(square - contrast**2, 0)) / np.maximum(contrast, 1),
        mean(steps.astype(np.float32)) / 8,
        mean(steps.astype(np.float32)) / np.maximum(contrast, 1) * 4,
        mean(fine.astype(np.float32)) / 8,
        mean((strokes > FAINTEST).astype(np.float32)),
        mean(broken) * 4,
        sharp,
        brighter,
        paper_side,
        (contrast - outside) / np.maximum(contrast, 1),
        along(steepest) / np.maximum(contrast, 1),
        straight,
        along(steepest) / np.maximum(mean(steps.astype(np.float32)), 1) / 4,
        along(((steepest > STEEP) & (aligned > 0)).astype(np.float32)),
        along((strokes > FAINTEST).astype(np.float32)),
        rims / np.sqrt(sizes + 1) / 8,
        _touches_border(boxes, labels.shape),
        *_colour_features(colours),
    ]
    return Marks(labels, sizes, boxes, np.stack(features, axis=1).astype(np.float32))


def _parted(marked: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Return the marked pixels without the lines along which the ground is steep; textures, steep everywhere, stay."""
    square = np.ones((TEXTURE, TEXTURE), np.uint8)
    rough = (marked & steep).astype(np.uint8)
    texture = cv2.dilate(cv2.erode(rough, square), np.ones((3, 3), np.uint8)) > 0  # without its outline
    flat = marked & ~steep
    line = cv2.dilate(texture.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    parted: np.ndarray = (flat & ~line) | texture
    return parted


def faintest_stroke(strokes: np.ndarray) -> float:
    """Return the level from which a pixel is of a stroke: FAINTEST, or what the grain of paper hardly reaches."""
    counts = np.cumsum(np.bincount(strokes.ravel(), minlength=256))
    middle, lower = (int(np.searchsorted(counts, strokes.size * share)) for share in (0.5, 0.16))
    return max(FAINTEST, middle + NOISE * max(middle - lower, 0.5))


def _connected(core: np.ndarray, fewest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels of the connected parts with at least `fewest` pixels, their sizes and their boxes; label 0 is the
    rest.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(core.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= fewest
    large[0] = False
    renumbered = np.where(large, np.cumsum(large), 0).astype(np.int32)
    kept = np.concatenate([[0], np.flatnonzero(large)])
    return renumbered[labels], stats[kept, cv2.CC_STAT_AREA].astype(np.float32), stats[kept, :4]


def _means(values: np.ndarray, which: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    means: np.ndarray = np.bincount(which, values, minlength=len(sizes)) / np.maximum(sizes, 1)
    return means


def _absorption(page: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the darkness of each channel relative to the paper, uint8."""
    return cv2.subtract(np.broadcast_to(colour, page.shape), page)


def _span(page: np.ndarray) -> np.ndarray:
    """Return the difference between the brightest and the darkest of 3 x 3 pixels, per channel."""
    square = np.ones((3, 3), np.uint8)
    return cv2.subtract(cv2.dilate(page, square), cv2.erode(page, square))


def _rim(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels just outside the marks, bool, and the mark nearest to every pixel, int32."""
    free = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    marked = np.flatnonzero(free.ravel() == 0)
    owners = np.zeros(int(nearest.max()) + 1, np.int32)
    owners[nearest.ravel()[marked]] = labels.ravel()[marked]
    return (distance > 1.5) & (distance < 4.5), owners[nearest]


def _axis_aligned(ground: np.ndarray) -> np.ndarray:
    """Return 1 for pixels whose ground changes along one axis of the page alone, else 0: float32."""
    light = cv2.cvtColor(ground, cv2.COLOR_RGB2GRAY)
    across, down = (np.abs(cv2.Sobel(light, cv2.CV_32F, *order)) for order in ((1, 0), (0, 1)))
    return ((np.minimum(across, down) < 0.2 * np.maximum(across, down)) & (across + down > 16)).astype(np.float32)


def _texture(page: np.ndarray) -> np.ndarray:
    light = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    return cv2.absdiff(light, cv2.boxFilter(light, -1, (5, 5)))


def _touches_border(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    left, top, width, height = boxes.T
    touches: np.ndarray = (left == 0) | (top == 0) | (left + width == shape[1]) | (top + height == shape[0])
    return touches.astype(np.float32)


def _colour_features(colours: np.ndarray) -> list[np.ndarray]:
    """Return chroma and the shares of red and blue in the light that marks absorb: (N, 3) -> three (N,)."""
    total = np.maximum(colours.sum(axis=1), 1)
    chroma = np.ptp(colours, axis=1) / 64
    strength = np.minimum(chroma, 1)
    return [chroma, (3 * colours[:, 0] / total - 1) * strength, (3 * colours[:, 2] / total - 1) * strength]
