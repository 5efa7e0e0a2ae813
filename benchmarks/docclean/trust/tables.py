"""Draws tables of numbers and codes, forms and grids on a sheet, which records their words and rules."""

import numpy as np
from PIL import ImageFont

from benchmarks.docclean.trust.canvas import BLACK, OVERSAMPLE, Colour, Rng, Sheet
from fastdiff.training.docclean.fonts import Face

LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
RULES: tuple[Colour, ...] = ((70, 70, 74), (120, 120, 124), (160, 160, 160), (90, 110, 150))
NAMES = ("Copper", "Kettle", "Lantern", "Rope", "Canvas", "Anchor", "Timber", "Paint", "Brass", "Varnish", "Pulley",
         "Compass", "Ladder", "Bucket", "Sailcloth", "Rudder")  # fmt: skip
LABELS = ("Name", "Street", "Town", "Telephone", "Born on", "Profession", "Account", "Signature", "Member since")

Span = tuple[float, float, float]  # left, top, right


def numbers(rng: Rng, sheet: Sheet, face: Face, size: float, span: Span, rows: int) -> float:
    """Set a table of amounts, counts and shares, six to a row, some rows ruled; return the y below it."""
    left, y, right = span
    font, step = face.at(size * OVERSAMPLE), (right - left) / 7
    heads = ("Item", "Opening", "Income", "Costs", "Change", "Share", "Total")
    rule = RULES[int(rng.integers(len(RULES)))]
    for column, head in enumerate(heads):
        sheet.write(*_cell(left, y, step, column), head, font, align="right" if column else "left")
    y += size * 1.7
    sheet.rule((left, round(y - 4)), (right, round(y - 4)), rule)
    every = int(rng.choice([1, 3, rows]))
    for row in range(rows):
        sheet.write(left, y, NAMES[int(rng.integers(len(NAMES)))], font)
        for column in range(1, 7):
            sheet.write(*_cell(left, y, step, column), _number(rng, column), font, align="right")
        y += size * 1.75
        if (row + 1) % every == 0:
            sheet.rule((left, round(y - 5)), (right, round(y - 5)), rule)
    return y + size


def codes(rng: Rng, sheet: Sheet, face: Face, size: float, span: Span, rows: int) -> float:
    """Set rows of a part number, a serial number, an account and a quantity; return the y below them."""
    left, y, right = span
    font = face.at(size * 0.9 * OVERSAMPLE)
    edges = (left, left + 128, left + 262, right)
    for edge, head in zip(edges, ("Part", "Serial", "Account"), strict=False):
        sheet.write(edge, y, head, font)
    sheet.write(right, y, "Qty", font, align="right")
    y += size * 1.7
    for _ in range(rows):
        sheet.write(edges[0], y, _part(rng), font)
        sheet.write(edges[1], y, _serial(rng), font)
        sheet.write(edges[2], y, _account(rng), font)
        sheet.write(right, y, str(rng.integers(1, 400)), font, align="right")
        y += size * 1.75
    return y + size


def form(rng: Rng, sheet: Sheet, font: ImageFont.FreeTypeFont, size: float, span: Span, rows: int = 9) -> float:
    """Set labelled fields on solid, dotted or dashed rules of one pixel; return the y below them."""
    left, y, right = span
    middle = left + 150
    for label in LABELS[:rows]:
        y += size * 2.1
        sheet.write(left, y - size * 1.2, label, font)
        dash, gap = ((0, 0), (1, 3), (2, 2), (5, 3))[int(rng.integers(4))]
        rule = RULES[int(rng.integers(len(RULES)))]
        sheet.rule((middle, round(y + 4)), (right, round(y + 4)), rule, dash, gap)
        if rng.random() < 0.6:
            sheet.write(middle + 8, y - size * 1.2, _entry(rng), font)
    return y + size * 1.5


def grid(rng: Rng, sheet: Sheet, font: ImageFont.FreeTypeFont, size: float, span: Span, rows: int) -> float:
    """Set numbers in a grid of hair lines, upright ones among them; return the y below it."""
    left, top, right = (round(value) for value in span)
    height, columns = round(size * 1.9), 5
    step = (right - left) // columns
    right = left + step * columns
    rule = RULES[int(rng.integers(len(RULES)))]
    for row in range(rows + 1):
        sheet.rule((left, top + row * height), (right, top + row * height), rule)
    for column in range(columns + 1):
        sheet.rule((left + column * step, top), (left + column * step, top + rows * height), rule)
    for row in range(rows):
        for column in range(columns):
            if rng.random() < 0.5:
                place = left + column * step + 8, top + row * height + size * 0.35
                sheet.write(*place, _number(rng, 1 + column), font, BLACK)
    return top + rows * height + size


def _cell(left: float, y: float, step: float, column: int) -> tuple[float, float]:
    return (left + (column + 1) * step if column else left), y


def _number(rng: Rng, column: int) -> str:
    n = int(np.exp(rng.uniform(np.log(100), np.log(999_999))))
    match column:
        case 4:
            return f"{rng.choice(['-', '+'])}{n % 10000 / 100:.2f}"
        case 5:
            return f"{n % 1000 / 10:.1f}%"
        case 3:
            return f"{n % 5000}"
    return f"{n / 100:,.2f}"


def _part(rng: Rng) -> str:
    letters = "".join(rng.choice(list(LETTERS), 2))
    return f"{letters}-{rng.integers(1000, 10000)}-{rng.integers(10, 100)}"


def _serial(rng: Rng) -> str:
    mixed = list(LETTERS + "0123456789")
    return "".join(rng.choice(mixed, 9))


def _account(rng: Rng) -> str:
    country = str(rng.choice(["DE", "FR", "NL", "IT"]))
    groups = " ".join(f"{rng.integers(0, 10000):04d}" for _ in range(4))
    return f"{country}{rng.integers(10, 100)} {groups} {rng.integers(10, 100)}"


def _entry(rng: Rng) -> str:
    match rng.integers(3):
        case 0:
            return f"{rng.integers(1, 29)}.{rng.integers(1, 13)}.{rng.integers(1940, 2020)}"
        case 1:
            return f"{rng.integers(100, 1000)} {rng.integers(1000, 10000)} {rng.integers(10, 100)}"
    return f"{NAMES[int(rng.integers(len(NAMES)))]} {NAMES[int(rng.integers(len(NAMES)))]}"
