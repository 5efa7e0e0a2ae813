"""Before, after and truth side by side, for the best, the median and the worst page of a section."""

from pathlib import Path

import cv2
import numpy as np

from benchmarks.result import Strip

GAP = 12  # pixels between pictures


def save(folder: Path, section: str, strips: list[Strip]) -> None:
    """Write SECTION-best.png, SECTION-median.png and SECTION-worst.png, the page's name in the top line."""
    ranked = sorted(strips, key=lambda strip: strip.score)
    if not ranked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for rank, strip in (("best", ranked[-1]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[0])):
        cv2.imwrite(str(folder / f"{section}-{rank}.png"), _drawn(strip))


def _drawn(strip: Strip) -> np.ndarray:
    pictures = [cv2.copyMakeBorder(_bgr(each), 40, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(200,) * 3)
                for each in strip.pictures]  # fmt: skip
    row = np.hstack(pictures)
    cv2.putText(row, f"{strip.name}  {strip.score:.4g}", (GAP, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1)
    return row


def _bgr(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR)
