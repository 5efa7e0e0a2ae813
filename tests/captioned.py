"""A folder of pictures with captions, as distillations take it."""

from pathlib import Path

import cv2
import numpy as np


def write_captioned(folder: Path) -> Path:
    """Twelve pictures with captions, and one without."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(13):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (40, 56, 3), dtype=np.uint8))
        if number < 12:
            (folder / f"{number}.txt").write_text("a fox on grass\n")
    return folder
