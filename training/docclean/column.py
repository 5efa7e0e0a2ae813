"""Pages of one column of known text, in faces that never train: for samples, tests and benchmarks."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fastdiff.solvers.errors import MissingError
from fastdiff.training.docclean import prose
from fastdiff.training.docclean.fonts import HELD_OUT, Face, installed_faces
from fastdiff.training.docclean.page import OVERSAMPLE

PACKAGES = ("fonts-ebgaramond", "fonts-lato", "fonts-courier-prime")  # of Debian, with the families of HELD_OUT
EXTREME_WEIGHTS = ("Hairline", "Thin", "Light", "Heavy", "Black")  # not used for running text


@dataclass(frozen=True)
class Column:
    """A page, grey uint8 (H, W), black on white 255, and its text."""

    pixels: np.ndarray
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def render_column(
    rng: np.random.Generator, face: Face, glyph_height: float, count: int = 20, width: int = 56
) -> Column:
    """Render a page of `count` lines of at most `width` characters.

    `glyph_height` is the median height of its printed characters in pixels; margins are about three times as wide.
    """
    lines = prose.lines(rng, count, width)
    size = OVERSAMPLE * glyph_height * 100 / _median_height(face, lines)
    font = face.at(size)
    margin, leading = 2 * size, 1.4 * size
    breadth, height = max(font.getlength(line) for line in lines) + 2 * margin, count * leading + 2 * margin
    canvas = Image.new("L", (round(breadth), round(height)), 255)
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        draw.text((margin, margin + index * leading), line, font=font, fill=0)
    return Column(np.array(canvas.reduce(OVERSAMPLE)), lines)


def held_out_faces() -> list[list[Face]]:
    """Return the faces for running text, by held-out family. Raises MissingError if a family is not installed."""
    found = installed_faces()
    absent = [name for name in HELD_OUT if name not in found]
    if absent:
        packages = ", ".join(PACKAGES)
        raise MissingError(f"the held-out fonts {', '.join(absent)} are not installed: install Debian's {packages}")
    return [[face for face in found[name] if not _extreme(face)] for name in HELD_OUT]


def _extreme(face: Face) -> bool:
    return any(weight in face.path.stem for weight in EXTREME_WEIGHTS)


def _median_height(face: Face, lines: tuple[str, ...]) -> float:
    """Return the median height of the printed characters at 100 pixels a font size."""
    font = face.at(100)
    boxes = [font.getbbox(character) for character in "".join(lines) if character != " "]
    return float(np.median([bottom - top for _, top, _, bottom in boxes]))
