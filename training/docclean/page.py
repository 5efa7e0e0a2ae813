"""Clean pages, rendered: the targets of the restorer."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fastdiff.training.docclean import pen
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.text import Writer

OVERSAMPLE = 2  # pages are drawn twice as large and averaged: edges fall anywhere between pixels, unhinted


@dataclass(frozen=True)
class Page:
    """A clean page: grey uint8 (H, W), 255 = paper, and the x-height of its text in pixels."""

    pixels: np.ndarray
    x_height: float


class Renderer:
    """Draws pages of one pixel size from fonts by style (see `fonts.faces_by_style`)."""

    def __init__(self, styles: dict[str, list[list[Face]]], side: int = 768):
        self.styles = styles
        self.side = side
        self.writer = Writer()

    def page(self, rng: np.random.Generator) -> Page:
        """Draw one page of a random kind: print, table, receipt, old print, handwriting or pen strokes."""
        kind = rng.choice(["print", "table", "old", "hand", "pen", "mixed"], p=[0.42, 0.1, 0.11, 0.18, 0.07, 0.12])
        large = kind in ("old", "hand", "pen")
        smallest, largest = (9, 44) if large else (4.5, 24)
        if rng.random() < 0.08:
            smallest, largest = 24, 72  # a title, or a photo of a detail
        x_height = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        canvas = Image.new("L", (self.side * OVERSAMPLE,) * 2, 255)
        if kind == "pen":
            ink = np.full((self.side * OVERSAMPLE,) * 2, 255, np.uint8)
            pen.write(rng, ink, x_height * OVERSAMPLE)
            canvas = Image.fromarray(ink)
        else:
            style = kind if large else str(rng.choice(["serif", "sans", "mono"], p=[0.5, 0.3, 0.2]))
            self.fill(rng, canvas, style, x_height, table=kind == "table")
        pixels = _spread(rng, np.array(canvas.reduce(OVERSAMPLE)), x_height)
        if kind == "mixed":
            self.decorate(rng, pixels)
        if large:
            pixels = _unsteady(rng, pixels, x_height)
        return Page(pixels, x_height)

    def face(self, rng: np.random.Generator, style: str) -> Face:
        families = self.styles[style]
        faces = families[int(rng.integers(len(families)))]
        return faces[int(rng.integers(len(faces)))]

    def fill(self, rng: np.random.Generator, canvas: Image.Image, style: str, x_height: float, table: bool) -> None:
        """Set lines of text, or table cells, down the whole canvas; text runs over the right edge as crops do."""
        draw = ImageDraw.Draw(canvas)
        face = self.face(rng, style)
        trial = face.at(100).getbbox("x")
        size = x_height * OVERSAMPLE * 100 / max(trial[3] - trial[1], 20)
        font = face.at(size)
        leading = size * rng.uniform(1.0, 1.7)
        grey = int(rng.choice([0, 0, 0, 0, 0, 0, 0, 0, 40, 90])) if style not in ("hand", "old") else 0
        columns = int(rng.choice([1, 1, 2])) if x_height < 12 else 1
        column_width = canvas.width / columns
        for column in range(columns):
            left = column * column_width + size * rng.uniform(0.2, 1.5)
            y = rng.uniform(-leading, leading)
            while y < canvas.height:
                if table:
                    self._row(rng, draw, font, left, y, leading, grey)
                elif rng.random() < 0.06:
                    scale = rng.uniform(1.1, 3)
                    draw.text((left, y), self.writer.heading(rng), font=face.at(size * scale), fill=grey)
                    y += leading * (scale - 1)
                else:
                    text = self.writer.paragraph(rng, 1 + int(2 * column_width / (size * 25)))
                    indent = size * 1.5 * (rng.random() < 0.1)
                    while columns > 1 and font.getlength(text) > column_width - size and " " in text:
                        text = text[: int(len(text) * 0.9)].rsplit(" ", 1)[0]
                    draw.text((left + indent, y), text, font=font, fill=grey)
                if rng.random() < 0.04:
                    line = y + leading * 0.95
                    draw.line((left, line, left + column_width * 0.9, line), fill=grey, width=int(rng.integers(1, 7)))
                y += leading * (1 + (rng.random() < 0.08))

    def _row(self, rng, draw, font, left: float, y: float, leading: float, grey: int) -> None:
        x = left
        shade = int(rng.uniform(130, 235)) if rng.random() < 0.15 else 255
        while x < draw.im.size[0]:
            width = leading * rng.uniform(3, 9)
            box = (x - leading * 0.2, y - leading * 0.1, x + width, y + leading * 1.2)
            draw.rectangle(box, fill=shade, outline=grey, width=2)
            draw.text((x, y), " ".join(self.writer.token(rng) for _ in range(rng.integers(1, 3))), font=font, fill=grey)
            x += width + leading * 0.2

    def decorate(self, rng: np.random.Generator, pixels: np.ndarray) -> None:
        """Add content that is no text: grey boxes, inverted boxes, halftones and photos, strokes."""
        for _ in range(rng.integers(3, 9)):
            h, w = (int(rng.uniform(20, 260)) for _ in range(2))
            y, x = (int(rng.uniform(0, self.side - 20)) for _ in range(2))
            box = pixels[y : y + h, x : x + w]
            match rng.integers(5):
                case 0:
                    box[:] = np.minimum(box, int(rng.uniform(90, 235)))  # a shaded cell behind its text
                case 1:
                    box[:] = 255 - box
                case 2:
                    box[:] = _photo(rng, *box.shape)
                case 3:
                    box[:] = np.where(_photo(rng, *box.shape) > _screen(*box.shape), 255, 0)
                case 4:
                    pen.flourish(rng, box if box.flags.c_contiguous else pixels)


def _photo(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a smooth many-toned picture, uint8 (height, width)."""
    coarse = rng.uniform(20, 235, (max(height // 24, 2), max(width // 24, 2))).astype(np.float32)
    fine = rng.normal(0, 12, (max(height // 3, 2), max(width // 3, 2))).astype(np.float32)
    tones = sum(cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) for layer in (coarse, fine))
    return np.clip(tones, 0, 255).astype(np.uint8)


def _screen(height: int, width: int, period: float = 4.0) -> np.ndarray:
    """Return a 45-degree halftone screen, float (height, width) in [0, 255]."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period / np.sqrt(2))
    return 127.5 + 63.7 * (np.cos(x + y) + np.cos(x - y))


def _unsteady(rng: np.random.Generator, pixels: np.ndarray, x_height: float) -> np.ndarray:
    """Warp smoothly by a fraction of the x-height, as a hand's baseline and letters."""
    side = pixels.shape[0]
    grid = max(int(side / (3 * x_height)), 2)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    amount = x_height * rng.uniform(0, 0.35)
    shift = [
        cv2.resize(rng.normal(0, amount, (grid, grid)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    return cv2.remap(pixels, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderValue=255)


def _spread(rng: np.random.Generator, pixels: np.ndarray, x_height: float) -> np.ndarray:
    """Make strokes a little thicker or thinner, as of spreading or drying ink, and keep them sharp."""
    if rng.random() < 0.6:
        return pixels
    sigma = min(max(x_height * 0.06, 0.5), 2.0)
    soft = cv2.GaussianBlur(pixels, (0, 0), sigma).astype(np.float32)
    core = float(np.median(soft[pixels < 128])) if (pixels < 128).any() else 0.0  # thin strokes must not vanish
    level = core + rng.uniform(0.2, 0.55) * (255 - core)
    return np.clip((soft - level) * (1.4 + sigma) + 127, 0, 255).astype(np.uint8)
