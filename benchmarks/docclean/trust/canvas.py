"""A sheet for pages of known content: it records the place of every word, fine line, pencil stroke and picture."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastdiff.training.docclean import marks, pen

Rng = np.random.Generator
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

HEIGHT, WIDTH = 1000, 800  # pixels, about 100 dpi of A4
OVERSAMPLE = 2  # printed marks are drawn twice as large and averaged
BLACK: Colour = (25, 25, 28)


@dataclass(frozen=True)
class Word:
    """A printed word and the box of its ink."""

    text: str
    box: Box


@dataclass(frozen=True)
class KnownPage:
    """A clean page, RGB uint8 (H, W, 3), and its content.

    `paper` is its colour, uint8 (3,). `hair_lines` and `pencil` are polylines (n, 2) of x and y, `pictures` boxes of
    photographs and portraits, `glyph_height` the height of its capitals in pixels.
    """

    kind: str
    pixels: np.ndarray
    paper: np.ndarray
    glyph_height: float
    words: tuple[Word, ...]
    hair_lines: tuple[np.ndarray, ...]
    pencil: tuple[np.ndarray, ...]
    pictures: tuple[tuple[int, int, int, int], ...]


@dataclass
class Sheet:
    """A white sheet of HEIGHT x WIDTH pixels, with coordinates in pixels.

    Print comes first; `finish` multiplies marks (stamps, pens, pencil, highlighter) over it.
    """

    words: list[Word] = field(default_factory=list)
    hair_lines: list[np.ndarray] = field(default_factory=list)
    pencil: list[np.ndarray] = field(default_factory=list)
    pictures: list[tuple[int, int, int, int]] = field(default_factory=list)
    marks: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # coverage (H, W), colour (3,)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * OVERSAMPLE, HEIGHT * OVERSAMPLE), "white")
        self.draw = ImageDraw.Draw(self.image)

    def write(
        self, x: float, y: float, text: str, font: ImageFont.FreeTypeFont, colour: Colour = BLACK, align: str = "left"
    ) -> float:
        """Set a line of text with its top left (or right) corner at x, y; return its width.

        `font` is sized for the oversampled sheet.
        """
        x, y = x * OVERSAMPLE, y * OVERSAMPLE
        if align == "right":
            x -= font.getlength(text)
        self.draw.text((x, y), text, colour, font)
        start = 0
        for word in text.split():
            start = text.index(word, start)
            left, top, right, bottom = font.getbbox(word)
            shift = font.getlength(text[:start])
            left, right = (x + shift + left) / OVERSAMPLE, (x + shift + right) / OVERSAMPLE
            self.words.append(Word(word, (left, (y + top) / OVERSAMPLE, right, (y + bottom) / OVERSAMPLE)))
            start += len(word)
        return font.getlength(text) / OVERSAMPLE

    def fill(self, box: Box, colour: Colour, radius: float = 0) -> None:
        left, top, right, bottom = (value * OVERSAMPLE for value in box)
        self.draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius * OVERSAMPLE, colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        box = tuple(value * OVERSAMPLE for value in (x - radius, y - radius, x + radius, y + radius))
        self.draw.ellipse(box, colour)

    def curve(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        scaled = [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]
        self.draw.line(scaled, colour, max(round(width * OVERSAMPLE), 1), joint="curve")

    def rule(
        self, start: tuple[float, float], end: tuple[float, float], colour: Colour, dash: float = 0, gap: float = 0
    ) -> None:
        """Draw a level or upright line of one pixel, dotted or dashed for a positive `dash`, and record it."""
        (x, y), (right, bottom) = start, end
        level = bottom == y
        length = right - x if level else bottom - y
        at = 0.0
        while at < length:
            piece = min(dash or length, length - at)
            box = (x + at, y, x + at + piece, y + 1) if level else (x, y + at, x + 1, y + at + piece)
            self.fill(box, colour)
            at += piece + gap
        self.hair_lines.append(np.array([[x, y], [right, bottom]], np.float32))

    def picture(self, left: int, top: int, pixels: np.ndarray) -> None:
        """Paste a photograph or portrait, RGB uint8, and record its box."""
        height, width = pixels.shape[:2]
        large = Image.fromarray(pixels).resize((width * OVERSAMPLE, height * OVERSAMPLE), Image.Resampling.BICUBIC)
        self.image.paste(large, (left * OVERSAMPLE, top * OVERSAMPLE))
        self.pictures.append((left, top, left + width, top + height))

    def stroke(self, points: np.ndarray, width: float, grey: float, rng: Rng) -> None:
        """Draw a pencil stroke along a polyline (n, 2) and record it; `grey` is its level on white paper."""
        ink = np.full((HEIGHT, WIDTH), 255, np.uint8)
        pen.stroke(ink, points, np.full(len(points), width))
        grain = np.clip(1 - 0.25 * np.abs(rng.normal(0, 0.5, ink.shape)), 0, 1)
        self.marks.append(((255 - ink) / 255 * grain, np.full(3, grey / 255)))
        self.pencil.append(points.astype(np.float32))

    def finish(self, kind: str, glyph_height: float, bottom: float, paper: np.ndarray | None = None) -> KnownPage:
        """Return the page, cut off at `bottom`, on paper of a colour, float (3,) in [0, 1], or white."""
        pixels = np.array(self.image.reduce(OVERSAMPLE))
        for coverage, colour in self.marks:
            marks.multiply(pixels, coverage.astype(np.float32), colour.astype(np.float32))
        ground = np.full(3, 255, np.uint8) if paper is None else np.round(paper * 255).astype(np.uint8)
        pixels = np.round(pixels[: round(bottom)] * (ground / np.float32(255))).astype(np.uint8)
        words, pictures = tuple(self.words), tuple(self.pictures)
        return KnownPage(
            kind, pixels, ground, glyph_height, words, tuple(self.hair_lines), tuple(self.pencil), pictures
        )
