"""The setup of every section, and caches that sections share: of restored pages and of readings."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fastdiff.apps.docclean.ocr import engines
from fastdiff.apps.docclean.ocr.engines import Engine, Reading
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer, RestoredPage
from fastdiff.solvers.solver_file import SolverFile

ENGINES = ("easyocr", "rapidocr")


@dataclass(frozen=True)
class Setup:
    """The data folder, the most pages per group (None for all), the weights (None for the bundled ones), and a solver
    file for the section "stage".
    """

    data: Path
    limit: int | None
    weights: Path | None
    solver_file: SolverFile | None = None

    def count(self, pages: int) -> int:
        """Return `pages`, or the limit if it is lower."""
        return pages if self.limit is None else min(pages, self.limit)

    def page_restorer(self, task: str, calls: int | None = None) -> PageRestorer:
        """Make a restorer with the weights of this setup."""
        return PageRestorer(task=task, calls=calls, weights=self.weights)


class CachingPageRestorer(PageRestorer):
    """A restorer that keeps its last result: the same page with the same reading is restored once in a row."""

    _last: tuple[tuple[int, int, int], np.ndarray, RestoredPage] | None = None

    def __call__(self, pixels: np.ndarray, key: int, reading: Reading | None = None) -> RestoredPage:
        request = key, id(pixels), id(reading)
        if self._last is None or self._last[0] != request:
            self._last = request, pixels, super().__call__(pixels, key, reading)
        return self._last[2]


class CachingEngine:
    """An OCR engine that reads the same pixels only once."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.note = engine.name, engine.note
        self._engine = engine
        self._readings: dict[bytes, Reading] = {}

    def read(self, pixels: np.ndarray) -> Reading:
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key not in self._readings:
            self._readings[key] = self._engine.read(pixels)
        return self._readings[key]


@cache
def cached_engine(name: str) -> CachingEngine:
    """Return the engine of this name; all sections share it."""
    engine = engines.load_engine(name)
    assert engine is not None
    return CachingEngine(engine)
