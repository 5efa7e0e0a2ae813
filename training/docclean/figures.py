"""Draws the figures of rendered colour pages: charts, tinted boxes, tables with fine rules, security patterns."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastdiff.training.docclean import palette
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.text import Writer

Rng = np.random.Generator
Colour = tuple[int, int, int]

OVERSAMPLE = 2  # figures are drawn twice as large and averaged
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


class Drawing:
    """A white canvas of `height` x `width` pixels, with coordinates in these pixels and a font for labels."""

    def __init__(self, rng: Rng, height: int, width: int, face: Face, writer: Writer):
        self.rng, self.height, self.width, self.writer = rng, height, width, writer
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.size = rng.uniform(9, 22)  # of labels, pixels
        self.font: ImageFont.FreeTypeFont = face.at(self.size * OVERSAMPLE)

    def rectangle(self, box: tuple[float, ...], fill: Colour | None, outline: Colour | None = None, line: float = 1):
        scaled = tuple(value * OVERSAMPLE for value in box)
        self.draw.rectangle(scaled, fill, outline, round(line * OVERSAMPLE) if outline else 0)

    def line(self, points: list[tuple[float, float]], colour: Colour, width: float = 1) -> None:
        scaled = [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]
        self.draw.line(scaled, colour, max(round(width * OVERSAMPLE), 1), joint="curve")

    def dotted(self, start: tuple[float, float], end: tuple[float, float], colour: Colour, dash: float, width: float):
        """Draw a line of dashes as long as the gaps between them."""
        a, b = np.array(start), np.array(end)
        count = max(int(np.hypot(*(b - a)) / (2 * dash)), 1)
        for index in range(count):
            first, last = a + (b - a) * index / count, a + (b - a) * (index + 0.5) / count
            self.line([tuple(first), tuple(last)], colour, width)

    def ellipse(self, box: tuple[float, ...], fill: Colour | None, outline: Colour | None = None, line: float = 1):
        scaled = tuple(value * OVERSAMPLE for value in box)
        self.draw.ellipse(scaled, fill, outline, round(line * OVERSAMPLE) if outline else 0)

    def pie(self, box: tuple[float, ...], start: float, end: float, fill: Colour, outline: Colour | None) -> None:
        self.draw.pieslice(tuple(value * OVERSAMPLE for value in box), start, end, fill, outline, OVERSAMPLE)

    def text(self, x: float, y: float, text: str, colour: Colour) -> None:
        self.draw.text((x * OVERSAMPLE, y * OVERSAMPLE), text, colour, self.font)

    def pixels(self) -> np.ndarray:
        """Return RGB uint8 (height, width, 3)."""
        return np.array(self.image.reduce(OVERSAMPLE))


def to_rgb(colour: np.ndarray) -> Colour:
    """Convert a colour of `palette` to the type of PIL's colours."""
    red, green, blue = (round(float(value) * 255) for value in np.clip(colour, 0, 1))
    return red, green, blue


def draw_bars(on: Drawing) -> None:
    """Draw bars of one or several colours, with or without outlines, on axes."""
    rng, left, floor = on.rng, on.size * 2.5, on.height - on.size * 1.6
    _axes(on, left, floor)
    count = int(rng.integers(3, 12))
    step = (on.width - left) / count
    colours = [to_rgb(palette.choose_fill(rng)) for _ in range(rng.integers(1, 5))]
    outline = to_rgb(palette.choose_ink(rng)) if rng.random() < 0.4 else None
    for index in range(count):
        height = rng.uniform(0.05, 0.95) * (floor - on.size)
        x = left + index * step
        on.rectangle((x + step * 0.15, floor - height, x + step * 0.85, floor), colours[index % len(colours)], outline)
        on.text(x + step * 0.2, floor + 2, str(rng.integers(0, 100)), (40, 40, 40))


def draw_curves(on: Drawing) -> None:
    """Draw several coloured curves on axes, some dotted, some with markers."""
    rng, left, floor = on.rng, on.size * 2.5, on.height - on.size * 1.6
    _axes(on, left, floor)
    count = int(rng.integers(4, 16))
    xs = np.linspace(left, on.width - 4, count)
    for _ in range(rng.integers(1, 5)):
        ys = floor - np.clip(0.5 + np.cumsum(rng.normal(0, 0.15, count)), 0.03, 0.97) * (floor - 4)
        colour = to_rgb(palette.choose_strong(rng) if rng.random() < 0.8 else palette.choose_ink(rng))
        width = rng.uniform(0.5, 3.5)
        points = list(zip(xs.tolist(), ys.tolist(), strict=True))
        if rng.random() < 0.3:
            for a, b in pairwise(points):
                on.dotted(a, b, colour, rng.uniform(1.5, 5), width)
        else:
            on.line(points, colour, width)
        if rng.random() < 0.4:
            radius = rng.uniform(1.5, 5)
            for x, y in points:
                on.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def draw_pie(on: Drawing) -> None:
    """Draw a pie of pale and strong slices, and a legend of filled discs."""
    rng = on.rng
    shares = rng.dirichlet(np.ones(int(rng.integers(2, 7)))) * 360
    side = min(on.height, on.width * 0.6) - 4
    outline = to_rgb(palette.choose_ink(rng)) if rng.random() < 0.5 else None
    start = rng.uniform(0, 360)
    for index, share in enumerate(shares):
        colour = to_rgb(palette.choose_fill(rng))
        on.pie((2, 2, 2 + side, 2 + side), start, start + share, colour, outline)
        start += share
        y = 4 + index * on.size * 1.5
        on.ellipse((side + 10, y, side + 10 + on.size, y + on.size), colour)
        on.text(side + 14 + on.size, y, on.writer.word(rng), (30, 30, 30))


def draw_box(on: Drawing) -> None:
    """Draw text on a tinted ground, dark on pale or white on dark, framed or not."""
    rng = on.rng
    ground = palette.choose_fill(rng)
    frame = to_rgb(palette.choose_ink(rng)) if rng.random() < 0.5 else None
    on.rectangle((0, 0, on.width - 1, on.height - 1), to_rgb(ground), frame, float(rng.integers(1, 4)))
    dark = ground.mean() < 0.6
    ink = np.full(3, rng.uniform(0.9, 1)) if dark else palette.choose_ink(rng) * min(1, ground.min() * 0.8)
    y = on.size * 0.5
    while y < on.height - on.size * 1.3:
        on.text(on.size * 0.6, y, _fitted(on, on.width - on.size), to_rgb(ink))
        y += on.size * rng.uniform(1.2, 1.6)


def draw_table(on: Drawing) -> None:
    """Draw numbers and codes between hair lines or dotted rules, some rows and the head on a pale ground."""
    rng = on.rng
    columns = int(rng.integers(2, 7))
    step, leading = on.width / columns, on.size * rng.uniform(1.3, 1.9)
    ink = to_rgb(palette.choose_ink(rng))
    rule = to_rgb(palette.choose_ink(rng) if rng.random() < 0.6 else palette.choose_pencil(rng))
    ground = to_rgb(palette.choose_fill(rng)) if rng.random() < 0.5 else None
    style = str(rng.choice(["rows", "grid", "dotted", "none"]))
    y = 0.0
    while y < on.height:
        if ground and int(y / leading) % 2 == 0:
            on.rectangle((0, y, on.width, y + leading), ground)
        for column in range(columns):
            on.text(column * step + 3, y + (leading - on.size) / 3, choose_code(rng), ink)
        if style == "dotted":
            on.dotted((0, y), (on.width, y), rule, rng.uniform(1, 3), 0.5)
        elif style != "none":
            on.line([(0, y), (on.width, y)], rule, 0.5)
        y += leading
    if style == "grid":
        for column in range(columns + 1):
            on.line([(column * step, 0), (column * step, on.height)], rule, 0.5)


def draw_guilloche(on: Drawing) -> None:
    """Draw the fine interlaced curves of banknotes, cheques and cards, under a little text."""
    rng = on.rng
    on.rectangle((0, 0, on.width, on.height), to_rgb(palette.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.2), 1)))
    colour = to_rgb(palette.from_hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.7), rng.uniform(0.6, 0.9)))
    x = np.linspace(0, on.width, 200)
    spread, waves, turns = on.height * rng.uniform(0.2, 0.6), rng.uniform(1, 6), rng.uniform(0.5, 3)
    for index in range(int(rng.integers(8, 30))):
        phase = index * rng.uniform(0.1, 0.5)
        y = on.height / 2 + spread * np.sin(waves * x / on.width * 6 + phase) * np.cos(turns * x / on.width * 6 + phase)
        on.line(list(zip(x.tolist(), y.tolist(), strict=True)), colour, 0.5)
    for _ in range(rng.integers(0, 4)):
        place = rng.uniform(0, on.width / 2), rng.uniform(0, on.height - on.size)
        on.text(*place, _fitted(on, on.width / 2), (20, 20, 30))


def choose_code(rng: Rng) -> str:
    """Return a random amount, date, or code of letters and digits."""
    n = int(rng.integers(1, 100_000))
    match rng.integers(5):
        case 0:
            return f"{n / 100:.2f}"
        case 1:
            return f"{n % 28 + 1:02d}.{n % 12 + 1:02d}.{1980 + n % 50}"
        case 2:
            return f"{n}-{n % 997}"
        case 3:
            return f"{n:,}"
    return "".join(rng.choice(list(LETTERS), int(rng.integers(4, 9))))


def _axes(on: Drawing, left: float, floor: float) -> None:
    colour, width = to_rgb(palette.choose_ink(on.rng)), on.rng.uniform(0.5, 2)
    on.line([(left, 2), (left, floor), (on.width - 2, floor)], colour, width)
    grid = to_rgb(palette.choose_pencil(on.rng))
    if on.rng.random() < 0.6:
        for y in np.linspace(4, floor, int(on.rng.integers(3, 8)))[:-1]:
            if on.rng.random() < 0.5:
                on.line([(left, y), (on.width, y)], grid, 0.5)
            else:
                on.dotted((left, y), (on.width, y), grid, 2, 0.5)
            on.text(2, y - on.size / 2, str(on.rng.integers(0, 1000)), (30, 30, 30))


def _fitted(on: Drawing, width: float) -> str:
    text = on.writer.sentence(on.rng)
    while " " in text and on.font.getlength(text) > width * OVERSAMPLE:
        text = text.rsplit(" ", 1)[0]
    return text


Figure = Callable[[Drawing], None]
CHARTS: tuple[Figure, ...] = (draw_bars, draw_curves, draw_pie)
PANELS: tuple[Figure, ...] = (draw_box, draw_box, draw_table, draw_table, draw_guilloche)
