"""The measured pages: DATA's folders noisyoffice, dibco and pages, and rendered pages in held-out fonts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.docclean.ocr import text_metrics
from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean.column import held_out_faces, render_column

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """A degraded page as the application opens it, and the truth (H, W): clean uint8 grey, or bool, True for ink."""

    name: str
    pixels: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class TextPage:
    """A page with known text; `column` is True if its reading order is known, too."""

    name: str
    pixels: np.ndarray
    text: str
    column: bool

    def error(self, read: str) -> float:
        """Return the character error rate on a single column, 1 - order-free word F elsewhere."""
        return text_metrics.cer(self.text, read) if self.column else 1 - text_metrics.word_score(self.text, read).f


def noisyoffice(data: Path, limit: int | None) -> list[Pair]:
    files = some(_files(data / "noisyoffice" / "noisy", "*.png"), limit)
    return [Pair(file.stem, opened(file), grey(opened(file.parents[1] / "clean" / file.name))) for file in files]


def clean_noisyoffice(data: Path, limit: int | None) -> list[Pair]:
    """Return the distinct clean pages, each its own truth."""
    distinct: dict[bytes, Pair] = {}
    for file in _files(data / "noisyoffice" / "clean", "*.png"):
        pixels = opened(file)
        distinct.setdefault(pixels.tobytes(), Pair(file.stem, pixels, grey(pixels)))
    return some(list(distinct.values()), limit)


def dibco(data: Path, year: str, limit: int | None) -> list[Pair]:
    files = some(_files(data / "dibco" / year / "images", "*"), limit)
    return [Pair(file.stem, opened(file), grey(opened(file.parents[1] / "gt" / file.name)) < 128) for file in files]


def documents(data: Path, limit: int | None) -> list[TextPage]:
    """Return English pages with the words of their hOCR files."""
    pages = []
    for file in some(_files(data / "pages", "*.png"), limit):
        truth = text_metrics.true_text(file.parent, file.stem, 0)
        if truth is None:
            raise UsageError(f"{file} has no text beside it: {file.stem}.hocr is needed")
        pages.append(TextPage(file.stem, opened(file), truth, column=False))
    return pages


def rendered(count: int, heights: tuple[float, float], seed: int) -> list[TextPage]:
    """Render single columns in held-out fonts, the families in turn, with glyph heights from a range in pixels."""
    families = held_out_faces()
    pages = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        faces = families[index % len(families)]
        face = faces[index // len(families) % len(faces)]
        page = render_column(rng, face, rng.uniform(*heights))
        pages.append(TextPage(f"{index:02d} {face.path.stem}", page.pixels, page.text, column=True))
    return pages


def opened(path: Path) -> np.ndarray:
    """Read the pixels of the first page of a file, as the application does."""
    with open_document(path) as document:
        return document.page(0).pixels


def grey(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8 (H, W) or RGB (H, W, 3) to grey (H, W)."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels


def share_of_white(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8, or bool with True for paper, grey or RGB, to float (H, W) in [0, 1]."""
    return pixels.astype(float) if pixels.dtype == np.bool_ else grey(pixels) / 255


def some(items: Sequence[T], limit: int | None) -> list[T]:
    """Return at most `limit` items, spread evenly."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def _files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise UsageError(f"{folder} holds no {pattern}: give a DATA folder with noisyoffice, dibco and pages")
    return files
