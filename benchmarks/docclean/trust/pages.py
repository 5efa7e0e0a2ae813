"""Pages of ten kinds in held-out fonts: text with tables, codes, figures and marks."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageFont

from benchmarks.docclean.trust import figures, marks, tables
from benchmarks.docclean.trust.canvas import HEIGHT, OVERSAMPLE, WIDTH, KnownPage, Rng, Sheet
from fastdiff.training.docclean import palette, prose
from fastdiff.training.docclean.fonts import Face

MARGIN = 52
X_HEIGHT = (7.2, 8.6)  # pixels: print of 10 points at 110 to 130 dpi
LEAST_HEIGHT = 540  # pixels


@dataclass
class Writer:
    """A sheet, the fonts of its text and headings, and the place of its next line."""

    rng: Rng
    sheet: Sheet
    face: Face
    bold: Face
    size: float  # of running text, pixels
    y: float = 44

    def font(self, scale: float = 1) -> ImageFont.FreeTypeFont:
        return self.face.at(self.size * scale * OVERSAMPLE)

    def heading(self, text: str, scale: float = 1.6) -> None:
        self.sheet.write(MARGIN, self.y, text, self.bold.at(self.size * scale * OVERSAMPLE))
        self.y += self.size * scale * 1.7

    def paragraph(self, count: int, left: float = MARGIN, right: float = WIDTH - MARGIN) -> list[tuple[float, float]]:
        """Set `count` lines of prose; return the y of each line and its width."""
        font = self.font()
        sample = "the harbour office returned a list of questions"
        characters = int((right - left) * OVERSAMPLE / (font.getlength(sample) / len(sample)) * 0.94)
        placed = []
        for line in prose.lines(self.rng, count, characters):
            placed.append((self.y, self.sheet.write(left, self.y, line, font)))
            self.y += self.size * 1.5
        self.y += self.size * 0.7
        return placed

    @property
    def glyph_height(self) -> float:
        _, top, _, bottom = self.face.at(100).getbbox("H")
        return self.size * (bottom - top) / 100


def _numbers(on: Writer) -> None:
    on.heading(str(on.rng.choice(["Statement of account", "Price list", "Monthly readings", "Balance sheet"])))
    on.paragraph(1)
    on.y = tables.numbers(on.rng, on.sheet, on.face, on.size, (MARGIN, on.y, WIDTH - MARGIN), rows=10)
    on.paragraph(1)


def _codes(on: Writer) -> None:
    on.heading(str(on.rng.choice(["Delivery note", "Spare parts", "Transfers", "Inventory"])))
    on.y = tables.codes(on.rng, on.sheet, on.face, on.size, (MARGIN, on.y, WIDTH - MARGIN), rows=8)
    on.paragraph(1)


def _photographs(on: Writer) -> None:
    on.heading("Notes from the harbour", 2.0)
    on.paragraph(2)
    on.y = figures.photographs(on.rng, on.sheet, on.font(0.85), on.y)
    on.paragraph(2)


def _charts(on: Writer) -> None:
    on.heading(str(on.rng.choice(["Annual report", "Traffic of the port", "Survey of visitors"])))
    on.paragraph(2)
    on.y = figures.bars(on.rng, on.sheet, on.font(0.8), on.y)
    on.y = figures.lines(on.rng, on.sheet, on.font(0.8), on.y)
    on.paragraph(1)


def _stamps(on: Writer) -> None:
    on.heading(str(on.rng.choice(["To the town council", "Receipt", "Agreement"])))
    on.paragraph(3)
    middle = on.y
    on.y += 300
    on.paragraph(2)
    marks.stamps(on.rng, on.sheet, on.bold, middle)
    on.y += 100
    marks.signature(on.rng, on.sheet, (MARGIN + 20, on.y - 60))
    marks.note(on.rng, on.sheet, on.face, (MARGIN + 330, on.y - 80))


def _highlighter(on: Writer) -> None:
    _marked(on, "Minutes of the meeting", marks.highlight, gap=60)


def _pencil(on: Writer) -> None:
    _marked(on, "A draft with remarks", marks.pencil, gap=90)


def _marked(on: Writer, title: str, mark: Callable[..., None], gap: int) -> None:
    """Set three paragraphs with marks on their lines."""
    on.heading(title)
    for _ in range(3):
        lines = on.paragraph(2)
        mark(on.rng, on.sheet, lines, MARGIN, on.size)
        on.y += gap


def _hair_lines(on: Writer) -> None:
    on.heading("Application form")
    on.y = tables.form(on.rng, on.sheet, on.font(), on.size, (MARGIN, on.y, WIDTH - MARGIN))
    on.y = tables.grid(on.rng, on.sheet, on.font(0.9), on.size, (MARGIN, on.y + 24, WIDTH - MARGIN), rows=8)


def _tinted(on: Writer) -> None:
    on.heading("Slip for the archive")
    on.paragraph(3)
    on.y = tables.form(on.rng, on.sheet, on.font(), on.size, (MARGIN, on.y, WIDTH - MARGIN), rows=6)
    on.paragraph(2)


def _cards(on: Writer) -> None:
    on.heading("Copy of the card")
    on.paragraph(2)
    for _ in range(2):
        on.y = figures.card(on.rng, on.sheet, on.bold, on.font(0.9), on.y)


KINDS: dict[str, Callable[[Writer], None]] = {
    "numbers": _numbers,
    "codes": _codes,
    "photographs": _photographs,
    "charts": _charts,
    "stamps and ink": _stamps,
    "highlighter": _highlighter,
    "pencil": _pencil,
    "hair lines": _hair_lines,
    "tinted paper": _tinted,
    "cards": _cards,
}


def render(rng: Rng, kind: str, faces: list[Face]) -> KnownPage:
    """Draw a page of a kind of KINDS in one of the faces of a family."""
    upright = [face for face in faces if "Italic" not in face.path.stem]
    regular = [face for face in upright if "Bold" not in face.path.stem and "bold" not in face.path.stem]
    bold = next((face for face in upright if face.path.stem.endswith("Bold")), upright[0])
    face = regular[int(rng.integers(len(regular)))]
    _, top, _, bottom = face.at(100).getbbox("x")
    size = 100 * rng.uniform(*X_HEIGHT) / (bottom - top)
    writer = Writer(rng, Sheet(), face, bold, float(size))
    KINDS[kind](writer)
    paper = palette.choose_tint(rng) if kind == "tinted paper" else None
    bottom = min(max(writer.y + MARGIN, LEAST_HEIGHT), HEIGHT)
    return writer.sheet.finish(kind, writer.glyph_height, bottom, paper)
