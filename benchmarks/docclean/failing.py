"""The inputs of DATA/failing/docclean, one row each: their status, and the share of their content that remains.

Pictures are compared with themselves under even light, found without the application: a smooth surface fitted to the
paper is divided out.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.docclean import pages
from benchmarks.docclean.application import ENGINES, Setup, cached_engine
from benchmarks.docclean.trust import measures
from benchmarks.docclean.trust.canvas import Word
from benchmarks.result import Cell, Section, Strip, Table
from fastdiff.apps.docclean import app
from fastdiff.apps.docclean.document import SUFFIXES
from fastdiff.apps.docclean.ocr.engines import Reading
from fastdiff.apps.docclean.options import Options
from fastdiff.apps.docclean.page_cleaner import PageCleaner
from fastdiff.solvers.errors import FastdiffError, UsageError

FOLDER = Path("failing", "docclean")
PHOTOGRAPH = (60, 400, 480, 720)  # left, top, right, bottom of the photograph of photo-in-page.png
PENCIL = (60, 430, 700, 820)  # of the pencil of pencil.png, written in four shades
FAINT = 0.03  # contrast to the paper, white = 1, from which a pixel of the pencil counts
DEGREE = 3  # of the surface of light, in x and y together
PAPER = 0.04  # distance from the surface within which a pixel is paper


def run(setup: Setup) -> Section:
    folder = setup.data / FOLDER
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if not files:
        raise UsageError(f"{folder} holds no file: give a DATA folder with failing/docclean")
    measured = [path for path in files if path.stem in MEASURES]
    rows, strips = [], []
    for key, path in enumerate(measured[: setup.limit]):
        for engine in ENGINES:
            for forced in (False, True):
                pixels = pages.opened(path)
                clean = PageCleaner(setup.page_restorer("auto"), cached_engine(engine), force_clean=forced)
                cleaned = clean(pixels, key)
                value, shown = MEASURES[path.stem](pixels, cleaned.pixels)
                causes = ", ".join(dict.fromkeys(each.cause for each in cleaned.regions if each.decision == "put back"))
                rows.append({
                    "file": path.name, "way": f"{engine}{', --force-clean' if forced else ''}",
                    "status": cleaned.status, "regions": len(cleaned.regions), "causes": causes,
                    "value": value, "measure": shown, "reason": cleaned.reason,
                })  # fmt: skip
                if not forced:
                    strips.append(Strip(f"{path.stem}, {engine}: {shown}", value, (pixels, cleaned.pixels)))
    others = [row for path in files if path not in measured for row in _others(path)]
    return Section([_pictures(rows), _documents(others)], rows + others, strips, sheet=strips)


def even_light(pixels: np.ndarray) -> np.ndarray:
    """Divide each channel of a page on near-white paper by a smooth surface fitted to its paper: uint8, as given."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = [x**i * y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    design = np.stack([term.ravel() for term in terms], axis=1)
    out = np.empty(pixels.shape, np.uint8)
    for channel in range(pixels.shape[2] if pixels.ndim == 3 else 1):
        layer = np.s_[..., channel] if pixels.ndim == 3 else np.s_[...]
        level = cv2.GaussianBlur(pixels[layer], (0, 0), 2).ravel() / 255
        paper = level > np.median(level) - 2 * PAPER
        for _ in range(4):
            surface = design @ np.linalg.lstsq(design[paper][::7], level[paper][::7], rcond=None)[0]
            paper = np.abs(level - surface) < PAPER
        light = surface.reshape(height, width)
        out[layer] = np.clip(np.round(pixels[layer] / np.maximum(light, 0.2)), 0, 255)
    return out


Measured = tuple[float, str]  # a share of 1, and a clause that describes it


def _digits(before: np.ndarray, after: np.ndarray) -> Measured:
    """Return the share of tokens with digits that both engines read as before; the worse engine counts."""
    same = []
    for name in ENGINES:
        tokens = _tokens_with_digits(cached_engine(name).read(before))
        same.append((int(measures.read_right(tokens, cached_engine(name).read(after)).sum()), len(tokens)))
    shown = ", ".join(f"{name} {kept}/{count}" for name, (kept, count) in zip(ENGINES, same, strict=True))
    return min(kept / max(count, 1) for kept, count in same), f"tokens with digits read as before: {shown}"


def _tokens_with_digits(reading: Reading) -> list[Word]:
    """Return the read tokens with digits, each placed by its share of the fragment's width."""
    tokens = []
    for fragment in (each for line in reading.lines for each in line):
        left, top, right, bottom = fragment.box
        scale = (right - left) / max(len(fragment.text), 1)
        for match in re.finditer(r"\S*\d\S*", fragment.text):
            tokens.append(Word(match.group(), (left + match.start() * scale, top, left + match.end() * scale, bottom)))
    return tokens


def _stamps(before: np.ndarray, after: np.ndarray) -> Measured:
    kept, count = measures.colours_kept(after, even_light(before))
    return kept / count, f"coloured pixels within 10 dE: {kept / count:.1%}"


def _photograph(before: np.ndarray, after: np.ndarray) -> Measured:
    value = measures.similarity(after, even_light(before), PHOTOGRAPH)
    return value, f"SSIM of the photograph {value:.3f}"


def _pencil(before: np.ndarray, after: np.ndarray) -> Measured:
    left, top, right, bottom = PENCIL
    true, shown = (pages.grey(each)[top:bottom, left:right] / 255 for each in (even_light(before), after))
    depth, left_of_it = (1 - cv2.GaussianBlur(each, (0, 0), 1) for each in (true, shown))
    strokes = depth > FAINT
    value = float(np.mean(left_of_it[strokes] >= depth[strokes] * measures.HALF))
    return value, f"pencil pixels with half of their contrast {value:.1%}"


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], Measured]] = {
    "digits-blurred": _digits,
    "stamps": _stamps,
    "photo-in-page": _photograph,
    "pencil": _pencil,
}


def _others(path: Path) -> list[dict[str, Any]]:
    """Return status and reason of every page of a file, cleaned as by the command."""
    about = {"file": path.name}
    if path.suffix.lower() not in SUFFIXES:
        return [about | {"page": None, "status": "not an input", "reason": f"{path.suffix} is not read"}]
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = app.run(Options((str(path),), out=Path(folder, "out"), ocr="rapidocr"))
        except FastdiffError as error:
            return [about | {"page": None, "status": "refused", "reason": str(error)}]
    return [about | {"page": page.page, "status": page.status, "reason": page.reason or page.untouched}
            for page in report.pages]  # fmt: skip


def _pictures(rows: list[dict[str, Any]]) -> Table:
    lines: list[tuple[Cell, ...]] = [
        (f"{row['file']}, {row['way']}", row["status"], row["regions"], row["causes"] or "-", row["measure"])
        for row in rows
    ]
    return Table(
        "Failing inputs: what is left of their content (paper of the input lit evenly)",
        ("file, engine", "status", "regions", "put back", "measured"),
        lines,
        "digits-blurred: tokens of both engines; one that reads right only now counts as changed",
    )


def _documents(rows: list[dict[str, Any]]) -> Table:
    lines: list[tuple[Cell, ...]] = [(row["file"], row["page"], row["status"], row["reason"] or "") for row in rows]
    return Table("Failing inputs: the other files, as the command does them", ("file", "page", "status", "why"), lines)
