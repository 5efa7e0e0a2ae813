"""Marks of degraded pages with the answer to what the guard asks: is it content?"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean import guard_layers, guard_marks
from fastdiff.apps.docclean.even import even_out
from fastdiff.apps.docclean.guard_marks import Marks
from fastdiff.training.docclean.guard_pages import Example


@dataclass(frozen=True)
class Samples:
    """Marks of one layer: features (N, F), whether each is content (N,), its size in pixels (N,)."""

    features: np.ndarray
    content: np.ndarray
    sizes: np.ndarray


def collect(examples: Iterable[Example]) -> tuple[Samples, Samples]:
    """The strokes and the areas of the pages, evened out."""
    strokes, areas = [], []
    for example in examples:
        page = guard_layers.working_copy(even_out(example.degraded))
        layers = guard_layers.split(page)
        strokes.append(_judged(guard_marks.find_strokes(layers), true_strokes(example)))
        areas.append(_judged(guard_marks.find_areas(layers), true_areas(example)))
    return join(strokes), join(areas)


def join(parts: Iterable[Samples]) -> Samples:
    """All marks of the parts."""
    parts = list(parts)
    names = ("features", "content", "sizes")
    return Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def true_strokes(example: Example) -> np.ndarray:
    """Where a mark of the evened-out page is content, bool (H, W): on or beside what is printed."""
    return cv2.dilate(example.content.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def true_areas(example: Example) -> np.ndarray:
    """Where the ground of the true page is content, bool at half size."""
    clean = guard_layers.working_copy(example.clean)
    return guard_layers.split(clean, example.paper).depth > guard_marks.PALEST


def _judged(marks: Marks, truth: np.ndarray) -> Samples:
    return Samples(marks.features[1:], marks.share_of(truth)[1:] > 0.5, marks.sizes[1:])
