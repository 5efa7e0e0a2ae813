"""Renders clean colour pages, whose every mark is content, on white or coloured paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from fastdiff.training.docclean import figures, marks, palette, pictures
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.page import Renderer

Rng = np.random.Generator

KINDS = {"text": 0.12, "letter": 0.2, "pencil": 0.12, "table": 0.1, "chart": 0.18, "photo": 0.16, "card": 0.12}
CONTENT = 0.03  # difference from white paper, of any channel, from which a pixel is content
TINTED = 0.2  # share of pages on coloured paper
BLANK = 0.4  # share of pages with a part of plain paper
CORNER = 0.08  # share of pages with a dark solid area, such as the scanner's lid beside the page


@dataclass(frozen=True)
class ColourPage:
    """A clean page: RGB uint8 (H, W, 3), the colour of its paper, uint8 (3,), its x-height in pixels and its kind."""

    pixels: np.ndarray
    paper: np.ndarray
    x_height: float
    kind: str

    @property
    def neutral(self) -> bool:
        """True if the paper is white."""
        return bool(self.paper.min() == 255)


class ColourRenderer:
    """Draws pages of one pixel size; their text is set by the renderer of grey pages.

    `photos` are photographs, RGB uint8, that pictures are cut from.
    """

    def __init__(self, styles: dict[str, list[list[Face]]], photos: Sequence[np.ndarray], side: int = 768):
        self.text = Renderer(styles, side)
        self.photos, self.side = photos, side

    def page(self, rng: Rng, kind: str | None = None) -> ColourPage:
        """Draw a page of a kind of KINDS, by default of a random one."""
        kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
        grey = self.text.page(rng)
        if rng.random() < BLANK:
            _clear(rng, grey.pixels)
        pixels = print_inks(rng, grey.pixels)
        match kind:
            case "letter":
                self._letter(rng, pixels, grey.x_height)
            case "pencil":
                self._pencil(rng, pixels)
            case "table" | "chart" | "photo" | "card":
                for _ in range(rng.integers(2, 5)):
                    self._place(rng, pixels, self._figure(rng, kind))
        if rng.random() < 0.3:
            marks.draw_rules(rng, pixels)
        if rng.random() < 0.1:
            marks.draw_discs(rng, pixels)
        if rng.random() < CORNER:
            _corner(rng, pixels)
        paper = np.full(3, 255, np.uint8)
        if rng.random() < TINTED:
            paper = np.round(palette.choose_tint(rng) * 255).astype(np.uint8)
            pixels = np.round(pixels * (paper / np.float32(255))).astype(np.uint8)
        return ColourPage(pixels, paper, grey.x_height, kind)

    def _letter(self, rng: Rng, page: np.ndarray, x_height: float) -> None:
        face = self.text.face
        for _ in range(rng.integers(1, 4)):
            colour = palette.choose_strong(rng) if rng.random() < 0.8 else palette.choose_ink(rng)
            marks.draw_signature(rng, page, colour)
        for _ in range(rng.integers(0, 4)):
            words = self.text.writer.word(rng), figures.choose_code(rng)
            marks.stamp(rng, page, face(rng, str(rng.choice(["sans", "serif", "mono"]))), words)
        if rng.random() < 0.6:
            marks.highlight(rng, page, 1.6 * x_height)
        if rng.random() < 0.5:
            marks.write_note(rng, page, face(rng, "hand"), self._note(rng), palette.choose_strong(rng))

    def _pencil(self, rng: Rng, page: np.ndarray) -> None:
        for _ in range(rng.integers(2, 6)):
            marks.draw_signature(rng, page, palette.choose_pencil(rng), widest=3)
        for _ in range(rng.integers(2, 6)):
            style, grain = str(rng.choice(["hand", "sans"], p=[0.7, 0.3])), rng.uniform(0, 0.6)
            marks.write_note(rng, page, self.text.face(rng, style), self._note(rng), palette.choose_pencil(rng), grain)

    def _note(self, rng: Rng) -> str:
        return self.text.writer.paragraph(rng, 1)[: int(rng.integers(6, 40))]

    def _figure(self, rng: Rng, kind: str) -> np.ndarray:
        height, width = (int(rng.uniform(120, self.side * 0.75)) for _ in range(2))
        if kind == "photo":
            picture = pictures.crop_photograph(rng, self.photos, height, width)
            return pictures.print_halftone(rng, picture) if rng.random() < 0.2 else picture
        if kind == "card":
            return self._card(rng)
        choice: tuple[figures.Figure, ...] = figures.CHARTS if kind == "chart" else figures.PANELS
        return self._drawn(rng, choice[int(rng.integers(len(choice)))], height, width)

    def _drawn(self, rng: Rng, figure: figures.Figure, height: int, width: int) -> np.ndarray:
        face = self.text.face(rng, str(rng.choice(["sans", "serif", "mono"])))
        drawing = figures.Drawing(rng, height, width, face, self.text.writer)
        figure(drawing)
        return drawing.pixels()

    def _card(self, rng: Rng) -> np.ndarray:
        """Draw an identity card: patterned tinted ground, a portrait, lines of data."""
        width = int(rng.uniform(280, 560))
        height = int(width * 0.63)
        card = self._drawn(rng, figures.draw_guilloche, height, width)
        ground = palette.from_hsv(rng.uniform(0, 360), rng.uniform(0.03, 0.3), rng.uniform(0.85, 1))
        card = np.minimum(card, np.round(ground * 255).astype(np.uint8))
        tall = int(height * rng.uniform(0.5, 0.75))
        wide = int(tall * 0.78)
        face = pictures.draw_portrait(rng, tall, wide)
        if rng.random() < 0.25:
            face = pictures.crop_photograph(rng, self.photos, tall, wide)
        top, left = int(height * 0.18), int(rng.choice([width * 0.05, width * 0.95 - wide]))
        card[top : top + tall, left : left + wide] = face
        frame = figures.to_rgb(palette.choose_ink(rng))
        cv2.rectangle(card, (0, 0), (width - 1, height - 1), frame, int(rng.integers(1, 3)))
        return card

    def _place(self, rng: Rng, page: np.ndarray, figure: np.ndarray) -> None:
        """Clear a part of the page, with a margin, and puts the figure there; the figure may run off the edge."""
        height, width = figure.shape[:2]
        top, left = (int(rng.uniform(-0.15 * length, self.side - 0.7 * length)) for length in (height, width))
        margin = int(rng.uniform(0, 14))
        page[max(top - margin, 0) : top + height + margin, max(left - margin, 0) : left + width + margin] = 255
        rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
        part = figure[rows.start - top :, columns.start - left :]
        target = page[rows, columns]
        target[:] = part[: target.shape[0], : target.shape[1]]


def print_inks(rng: Rng, grey: np.ndarray) -> np.ndarray:
    """Print a grey page (H, W) in one or several inks on white paper; returns RGB uint8 (H, W, 3).

    Inks change only between lines of text, at rows without ink.
    """
    empty = np.flatnonzero(grey.min(1) >= 250)
    changes = np.sort(rng.choice(empty, min(int(rng.integers(0, 4)), len(empty)), replace=False))
    bounds = [0, *changes.tolist(), len(grey)]
    page = np.empty((*grey.shape, 3), np.uint8)
    for first, last in pairwise(bounds):
        ink = palette.choose_ink(rng)
        page[first:last] = np.round(255 * ink + grey[first:last, :, None] * (1 - ink))
    return page


def _clear(rng: Rng, grey: np.ndarray) -> None:
    """Remove the text of a band along one edge, as wide as three quarters of the page at most."""
    view = np.rot90(grey, int(rng.integers(4)))
    view[:, : int(rng.uniform(0.1, 0.75) * grey.shape[0])] = 255


def _corner(rng: Rng, page: np.ndarray) -> None:
    """Fill a band along one edge with a dark colour, as a scanner's lid does."""
    wide = int(rng.uniform(10, 120))
    shade = np.full(3, rng.uniform(0, 70))
    view = np.rot90(page, int(rng.integers(4)))
    view[:, :wide] = shade.astype(np.uint8)
