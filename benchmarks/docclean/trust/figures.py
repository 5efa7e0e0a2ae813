"""Draws photographs, charts and cards on a sheet, which records their words, hair lines and pictures."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import ImageFont

from benchmarks.docclean.trust.canvas import OVERSAMPLE, WIDTH, Colour, Rng, Sheet
from fastdiff.training.docclean import palette
from fastdiff.training.docclean.colour_pool import load_photographs
from fastdiff.training.docclean.figures import to_rgb
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.pictures import crop_photograph, draw_portrait

LEFT, RIGHT = 52, WIDTH - 52
AXIS: Colour = (90, 90, 95)
PALE_GRID: Colour = (185, 185, 188)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TOWNS = ("Lindau", "Bergen", "Porto", "Riga", "Cork")


@cache
def _photographs() -> Sequence[np.ndarray]:
    return load_photographs(held_out=True)


def photographs(rng: Rng, sheet: Sheet, font: ImageFont.FreeTypeFont, y: float) -> float:
    """Set one wide photograph, or two beside each other, with captions; return the y below them."""
    y = round(y)
    count = int(rng.integers(1, 3))
    width = (RIGHT - LEFT - 20 * (count - 1)) // count
    height = int(rng.uniform(330, 400)) if count == 1 else int(rng.uniform(240, 330))
    for index in range(count):
        left = LEFT + index * (width + 20)
        sheet.picture(left, y, crop_photograph(rng, _photographs(), height, width))
        sheet.write(left, y + height + 6, f"Plate {rng.integers(1, 90)}, taken in {rng.integers(1950, 2020)}", font)
    return y + height + 44


def bars(rng: Rng, sheet: Sheet, font: ImageFont.FreeTypeFont, y: float, height: int = 250) -> float:
    """Set a chart of pale bars on hair lines, with labels; return the y below it."""
    left, floor = LEFT + 44, round(y) + height
    _axes(sheet, font, left, round(y), floor, top_value=int(rng.integers(3, 9)) * 100)
    fills = [_pale(rng) for _ in range(2)]
    outline = to_rgb(palette.choose_ink(rng)) if rng.random() < 0.4 else None
    step = (RIGHT - left) / len(MONTHS)
    for index, month in enumerate(MONTHS):
        for half, colour in enumerate(fills):
            tall = round(rng.uniform(0.15, 0.9) * height)
            x = round(left + index * step + 6 + half * step * 0.4)
            box = (x, floor - tall, x + round(step * 0.36), floor)
            if outline:
                sheet.fill((box[0] - 1, box[1] - 1, box[2] + 1, floor), outline)
            sheet.fill(box, colour)
        sheet.write(left + index * step + 8, floor + 6, month, font)
    return floor + 50


def lines(rng: Rng, sheet: Sheet, font: ImageFont.FreeTypeFont, y: float, height: int = 200) -> float:
    """Set a chart of coloured curves with discs as markers and a legend; return the y below it."""
    left, floor, right = LEFT + 44, round(y) + height, RIGHT - 110
    _axes(sheet, font, left, round(y), floor, top_value=int(rng.integers(3, 9)) * 10, right=right)
    hue = rng.uniform(0, 360)
    for index in range(int(rng.integers(3, 6))):
        colour = to_rgb(palette.from_hsv(hue + index * 77, rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.9)))
        xs = np.linspace(left + 6, right - 6, 10)
        ys = floor - np.clip(0.5 + np.cumsum(rng.normal(0, 0.14, 10)), 0.06, 0.94) * height
        sheet.curve(list(zip(xs.tolist(), ys.tolist(), strict=True)), colour, float(rng.choice([1.5, 2, 3])))
        if rng.random() < 0.6:
            for x, level in zip(xs, ys, strict=True):
                sheet.disc(float(x), float(level), 4, colour)
        at = y + 10 + index * 30
        sheet.disc(right + 24, at + 8, 7, colour)
        sheet.write(right + 38, at, TOWNS[index], font)
    return floor + 40


def card(rng: Rng, sheet: Sheet, bold: Face, font: ImageFont.FreeTypeFont, y: float) -> float:
    """Set an identity card: patterned tinted ground, a coloured head, a portrait, data; return the y below it."""
    left, top, width, height = LEFT + int(rng.integers(0, 60)), round(y), 520, 318
    hue = rng.uniform(0, 360)
    sheet.fill((left - 1, top - 1, left + width + 1, top + height + 1), (110, 110, 115), radius=14)
    sheet.fill((left, top, left + width, top + height), to_rgb(palette.from_hsv(hue, rng.uniform(0.06, 0.2), 0.97)), 14)
    _guilloche(rng, sheet, (left + 8, top + 60, left + width - 8, top + height - 8), hue)
    strong = to_rgb(palette.from_hsv(hue + rng.normal(0, 25), rng.uniform(0.55, 0.9), rng.uniform(0.4, 0.7)))
    sheet.fill((left + 8, top + 10, left + width - 8, top + 52), strong, radius=6)
    title = str(rng.choice(["LIBRARY CARD", "MEMBER OF THE MUSEUM", "HARBOUR PASS", "RAILWAY TICKET"]))
    sheet.write(left + 22, top + 17, title, bold.at(20 * OVERSAMPLE), (250, 250, 250))
    on_left = rng.random() < 0.5
    sheet.picture(left + (24 if on_left else width - 174), top + 78, draw_portrait(rng, 200, 150))
    x = left + (200 if on_left else 26)
    number = f"{rng.integers(10**8, 10**9)}"
    data = (
        ("Number", number),
        ("Valid until", f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.2031"),
        ("Town", TOWNS[int(rng.integers(len(TOWNS)))]),
        ("Class", f"{rng.choice(list('ABCD'))}{rng.integers(10)}"),
    )
    for index, (label, value) in enumerate(data):
        sheet.write(x, top + 82 + index * 52, label, font, strong)
        sheet.write(x, top + 104 + index * 52, value, font)
    return top + height + 34


def _guilloche(rng: Rng, sheet: Sheet, box: tuple[float, float, float, float], hue: float) -> None:
    """Draw the fine interlaced curves of security paper in a pale colour."""
    left, top, right, bottom = box
    colour = to_rgb(palette.from_hsv(hue + rng.normal(0, 30), rng.uniform(0.25, 0.45), rng.uniform(0.78, 0.9)))
    x = np.linspace(0, 1, 160)
    waves, turns = rng.uniform(2, 5), rng.uniform(1, 2.5)
    for phase in np.linspace(0, np.pi, 16):
        swing = 0.48 * np.sin(2 * np.pi * waves * x + phase) * np.cos(2 * np.pi * turns * x + phase / 2)
        points = zip((left + x * (right - left)).tolist(), ((top + bottom) / 2 + swing * (bottom - top)).tolist(),
                     strict=True)  # fmt: skip
        sheet.curve(list(points), colour, 1)


def _axes(
    sheet: Sheet, font: ImageFont.FreeTypeFont, left: int, top: int, floor: int, top_value: int, right: int = RIGHT
) -> None:
    """Draw a grid of hair lines, solid or dotted, with the values beside it."""
    for part in range(5):
        y = round(floor - (floor - top) * part / 4.3)
        if part:
            sheet.rule((left, y), (right, y), PALE_GRID, dash=2 if part % 2 else 0, gap=2 if part % 2 else 0)
        sheet.write(left - 8, y - 8, str(top_value * part // 4), font, align="right")
    sheet.rule((left, floor), (right, floor), AXIS)
    sheet.rule((left, top), (left, floor), AXIS)


def _pale(rng: Rng) -> Colour:
    return to_rgb(palette.from_hsv(rng.uniform(0, 360), rng.uniform(0.12, 0.4), rng.uniform(0.82, 0.97)))
