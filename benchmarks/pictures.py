"""Pictures of before, after and truth side by side: best, median and worst page of a section, or a sheet of many."""

from pathlib import Path

import cv2
import numpy as np

from benchmarks.result import Strip

GAP = 12  # pixels between pictures
LINE = 40  # pixels of the line above them
SMALL = 256  # pixels of a side, below which pictures are enlarged
ON_SHEET = 12  # strips
COLUMNS = 2  # of strips on a sheet of whole pages
QUALITY = 88  # of its JPEG


def save(folder: Path, section: str, strips: list[Strip]) -> None:
    """Write SECTION-best.png, SECTION-median.png and SECTION-worst.png, with the page's name in the top line."""
    ranked = _ranked(strips)
    if not ranked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for rank, strip in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        cv2.imwrite(str(folder / f"{section}-{rank}.png"), _drawn(strip))


def save_sheet(folder: Path, section: str, strips: list[Strip]) -> None:
    """Write SECTION.png: strips of one size below each other, the best first, drawn evenly from all."""
    ranked = _ranked(strips)
    if not ranked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {round(i) for i in np.linspace(0, len(ranked) - 1, min(ON_SHEET, len(ranked)))}
    cv2.imwrite(str(folder / f"{section}.png"), np.vstack([_drawn(ranked[i]) for i in sorted(chosen)]))


def save_pages(folder: Path, section: str, strips: list[Strip]) -> None:
    """Write SECTION-pages.jpg: all strips, of any sizes, in COLUMNS columns from left to right."""
    if not strips:
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_drawn(strip) for strip in strips]
    rows = []
    for first in range(0, len(drawn), COLUMNS):
        row = drawn[first : first + COLUMNS]
        tallest, widest = max(len(each) for each in row), max(each.shape[1] for each in drawn)
        row = [_padded(each, tallest, widest) for each in row]
        row += [_padded(row[0][:0], tallest, widest)] * (COLUMNS - len(row))
        rows.append(np.hstack(row))
    cv2.imwrite(str(folder / f"{section}-pages.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    bottom, right = height - len(picture), width - picture.shape[1]
    return np.pad(picture, ((0, bottom), (0, right), (0, 0)), constant_values=200)


def _ranked(strips: list[Strip]) -> list[Strip]:
    return sorted(strips, key=lambda strip: strip.score, reverse=True)


def _drawn(strip: Strip) -> np.ndarray:
    pictures = [cv2.copyMakeBorder(_large(_bgr(each)), LINE, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(200,) * 3)
                for each in strip.pictures]  # fmt: skip
    row, text = np.hstack(pictures), f"{strip.name}  {strip.score:.4g}"
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1, 1)
    scale = min(0.7, (row.shape[1] - 2 * GAP) / width)
    cv2.putText(row, text, (GAP, 28), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1)
    return row


def _large(pixels: np.ndarray) -> np.ndarray:
    times = 1 if min(pixels.shape[:2]) >= SMALL else 2
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _bgr(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR)
