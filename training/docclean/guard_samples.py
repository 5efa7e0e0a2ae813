"""Marks of degraded pages, labelled as content or dirt."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.guard.marks import PALEST, Marks, find_areas, find_strokes
from fastdiff.apps.docclean.imaging.illumination import even_out
from fastdiff.apps.docclean.imaging.layers import split, working_copy
from fastdiff.training.docclean.guard_pages import Example


@dataclass(frozen=True)
class Samples:
    """Marks of one layer: features (N, F), True for content (N,), sizes in pixels (N,)."""

    features: np.ndarray
    content: np.ndarray
    sizes: np.ndarray


def collect(examples: Iterable[Example]) -> tuple[Samples, Samples]:
    """Return the strokes and the areas of the evened-out pages."""
    strokes, areas = [], []
    for example in examples:
        page = working_copy(even_out(example.degraded))
        layers = split(page)
        strokes.append(_judged(find_strokes(layers), true_strokes(example)))
        areas.append(_judged(find_areas(layers), true_areas(example)))
    return join(strokes), join(areas)


def join(parts: Iterable[Samples]) -> Samples:
    """Join the marks of all parts."""
    parts = list(parts)
    names = ("features", "content", "sizes")
    return Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def true_strokes(example: Example) -> np.ndarray:
    """Return the mask of strokes that are content, bool (H, W): printed pixels and those beside them."""
    return cv2.dilate(example.content.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def true_areas(example: Example) -> np.ndarray:
    """Return the mask of ground that is content, bool at half size."""
    clean = working_copy(example.clean)
    return split(clean, example.paper).depth > PALEST


def _judged(marks: Marks, truth: np.ndarray) -> Samples:
    return Samples(marks.features[1:], marks.share_of(truth)[1:] > 0.5, marks.sizes[1:])
