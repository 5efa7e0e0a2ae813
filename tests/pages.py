"""Pages of text for tests, in the one font that is always there: Pillow's own."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINES = (
    "The harbour office returned",
    "seven glass jars, and the old",
    "sailor measured the pump: 42.",
    "A young teacher counted maps",
    "behind the station, as agreed.",
    "Quiet rooms need fresh bread",
    "before the winter of 1958.",
)


def text_page(size: float, ink: int = 0, paper: int = 255, lines: Sequence[str] = LINES) -> np.ndarray:
    """Lines of text in a font of `size` pixels: grey uint8 (H, W)."""
    font = ImageFont.load_default(size)
    canvas = Image.new("L", (round(17 * size), round(1.5 * size * (len(lines) + 1))), paper)
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((size, (0.5 + 1.5 * row) * size), line, font=font, fill=ink)
    return np.array(canvas)
