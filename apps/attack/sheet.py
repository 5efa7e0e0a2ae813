"""Pictures to look at: amplified differences, and a contact sheet of clean, attacked and difference side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

AMPLIFIED = 10  # times, around middle grey
MOST_ROWS = 12
SIDE, GAP, LINE = 192, 8, 16  # pixels


@dataclass(frozen=True, eq=False)
class Row:
    """One picture of the sheet, uint8 (H, W, 3), before and after, and what to write above it."""

    before: np.ndarray
    after: np.ndarray
    text: str


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The change, amplified, as a picture: grey where there is none."""
    change: np.ndarray = after.astype(np.int16) - before
    return (128 + AMPLIFIED * change).clip(0, 255).astype(np.uint8)


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
    """The first MOST_ROWS rows: clean, attacked, difference."""
    rows = rows[:MOST_ROWS]
    height = SIDE + LINE + GAP
    sheet = Image.new("RGB", (3 * (SIDE + GAP) + GAP, len(rows) * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = GAP + number * height
        pen.text((GAP, top), row.text.encode("ascii", "replace").decode(), fill="black")
        for column, pixels in enumerate((row.before, row.after, difference(row.before, row.after))):
            picture = Image.fromarray(pixels)
            picture.thumbnail((SIDE, SIDE))
            sheet.paste(picture, (GAP + column * (SIDE + GAP), top + LINE))
    return sheet
