"""Draws the sheet of emoji that `fastdiff edit` compares results with, from the font of the scenes.

    python -m benchmarks.edit.emoji_sheet [PATH]

PATH is `data/emoji.webp` by default.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fastdiff.apps.edit.shape import COLUMNS, SHEET, TILE
from fastdiff.training.edit.recogniser import LABELS
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, Pose

WHOLE = Pose(SIDE, SIDE / 2, SIDE / 2, 0)


def sheet(renderer: Renderer) -> Image.Image:
    """The emoji of all concepts in the order of LABELS, upright, COLUMNS a row."""
    rows = -(-len(LABELS.concepts) // COLUMNS)
    pixels = np.zeros((rows * TILE, COLUMNS * TILE, 4), np.float32)
    for number, concept in enumerate(LABELS.concepts):
        top, left = (TILE * place for place in divmod(number, COLUMNS))
        emoji = cv2.resize(renderer.emoji(concept, WHOLE), (TILE, TILE), interpolation=cv2.INTER_AREA)
        straight = emoji[..., :3] * (255 / np.maximum(emoji[..., 3:], 1))
        pixels[top : top + TILE, left : left + TILE] = np.dstack([straight, emoji[..., 3:]])
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "data" / SHEET
    sheet(Renderer()).save(path, lossless=True, quality=100, method=6)
