"""Draws stamps, signatures, notes, highlighter and pencil on a sheet."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.docclean.trust.canvas import HEIGHT, OVERSAMPLE, WIDTH, Rng, Sheet, Word
from fastdiff.training.docclean import palette, pen
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.palette import PENCIL
from fastdiff.training.docclean.textures import cloud

INKS = (225.0, 355.0, 140.0, 275.0)  # hues of blue, red, green and violet ink

Place = tuple[float, float]


def stamps(rng: Rng, sheet: Sheet, face: Face, y: float) -> None:
    """Print three rubber stamps of different inks side by side, turned a little, of uneven ink."""
    hues = rng.permutation(INKS)[:3]
    for index, hue in enumerate(hues):
        centre = (150 + index * 205 + rng.normal(0, 8), y + 130 + rng.normal(0, 25))
        words = str(rng.choice(["PAID", "RECEIVED", "COPY", "ENTERED"])), _date(rng)
        _stamp(rng, sheet, face, centre, words, _ink(rng, float(hue)))


def signature(rng: Rng, sheet: Sheet, place: Place) -> None:
    """Sign in blue or black ink."""
    points = pen.cursive(rng, 210, 34) + np.array(place)
    ink = np.full((HEIGHT, WIDTH), 255, np.uint8)
    pen.stroke(ink, points, np.full(len(points), rng.uniform(1.6, 2.6)))
    sheet.marks.append(((255 - ink) / 255, _ink(rng, 225.0)))


def note(rng: Rng, sheet: Sheet, face: Face, place: Place) -> None:
    """Write two short lines in coloured ink."""
    red, green, blue = (round(255 * float(value)) for value in _ink(rng, float(rng.choice(INKS))))
    font = face.at(21 * OVERSAMPLE)
    remark = str(rng.choice(["file with the others", "please return", "not yet paid"]))
    sheet.write(*place, f"seen on {_date(rng)}", font, (red, green, blue))
    sheet.write(place[0], place[1] + 28, remark, font, (red, green, blue))


def highlight(rng: Rng, sheet: Sheet, lines: list[tuple[float, float]], left: float, size: float) -> None:
    """Draw a broad felt-tip stroke over a part of one or two of the lines, given by their y and width."""
    colour = palette.choose_highlighter(rng)
    for index in rng.permutation(len(lines))[: int(rng.integers(1, 3))]:
        y, width = lines[int(index)]
        start, length = left + rng.uniform(0, 0.4) * width, width * rng.uniform(0.35, 0.6)
        middle = y + size * 0.6
        stroke = np.zeros((HEIGHT, WIDTH), np.uint8)
        ends = ((round(start), round(middle)), (round(start + length), round(middle + rng.normal(0, 2))))
        cv2.line(stroke, *ends, 255, round(size * 1.25), cv2.LINE_AA)
        edge = np.clip(0.95 + 0.08 * cloud(rng, max(HEIGHT, WIDTH), 40)[:HEIGHT, :WIDTH], 0.7, 1)
        sheet.marks.append((stroke / 255 * edge, colour))


def pencil(rng: Rng, sheet: Sheet, lines: list[tuple[float, float]], left: float, size: float) -> None:
    """Underline a part of a line, put a bracket beside the lines, and scribble a remark below them."""
    grey, width = rng.uniform(*PENCIL), rng.choice([1.0, 1.5, 2.0, 2.5])
    y, length = lines[int(rng.integers(len(lines)))]
    x = left + rng.uniform(0, 0.3) * length + np.arange(0, 0.5 * length, 6)
    sheet.stroke(np.stack([x, y + size * 1.28 + np.cumsum(rng.normal(0, 0.15, len(x)))], 1), width, grey, rng)
    top, bottom = lines[0][0], lines[-1][0] + size
    bracket = [(left - 12, top), (left - 20, top + 3), (left - 20 + rng.normal(0, 1), bottom - 3), (left - 12, bottom)]
    sheet.stroke(_dense(np.array(bracket)), width, grey, rng)
    remark = pen.cursive(rng, int(rng.uniform(160, 300)), rng.uniform(14, 22))
    sheet.stroke(remark + np.array([left + rng.uniform(10, 250), bottom + 52]), width, grey, rng)
    tick = np.array([(WIDTH - 44, top + 10), (WIDTH - 38, top + 20), (WIDTH - 22, top - 8)])
    sheet.stroke(_dense(tick), width, rng.uniform(PENCIL[1] - 40, PENCIL[1]), rng)


def _stamp(rng: Rng, sheet: Sheet, face: Face, centre: Place, words: tuple[str, str], colour: np.ndarray) -> None:
    side = 180
    image = Image.new("L", (side * OVERSAMPLE,) * 2, 0)
    draw, middle, rim = ImageDraw.Draw(image), side, round(rng.uniform(4, 8))
    if rng.random() < 0.5:
        draw.ellipse((8, 8, 2 * side - 8, 2 * side - 8), outline=255, width=rim)
        draw.ellipse((34, 34, 2 * side - 34, 2 * side - 34), outline=255, width=rim // 2)
    else:
        draw.rounded_rectangle((8, middle - 92, 2 * side - 8, middle + 92), 14, None, 255, rim)
    angle = rng.normal(0, 7)
    for text, shift, size in ((words[0], -24, 44), (words[1], 34, 34)):
        font = face.at(size)
        draw.text((middle, middle + shift), text, 255, font, anchor="mm")
        _, top, _, bottom = font.getbbox(text, anchor="mm")
        half = font.getlength(text) / 2
        turn = np.deg2rad(angle)
        x, y = centre[0] + shift / 2 * np.sin(turn), centre[1] + shift / 2 * np.cos(turn)
        sheet.words.append(Word(text, (x - half / 2, y + top / 2, x + half / 2, y + bottom / 2)))
    small = np.array(image.rotate(angle, Image.Resampling.BICUBIC).reduce(OVERSAMPLE)) / 255
    worn = np.clip(0.88 + 0.1 * cloud(rng, side, 5) + 0.06 * cloud(rng, side, 60), 0.45, 1)
    whole = np.zeros((HEIGHT, WIDTH))
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    target = whole[top : top + side, max(left, 0) : left + side]
    target[:] = (small * worn)[: target.shape[0], max(-left, 0) : max(-left, 0) + target.shape[1]]
    sheet.marks.append((whole, colour))


def _date(rng: Rng) -> str:
    return f"{rng.integers(1, 29)}.{rng.integers(1, 13)}.2019"


def _ink(rng: Rng, hue: float) -> np.ndarray:
    return palette.from_hsv(hue + rng.normal(0, 8), rng.uniform(0.55, 0.95), rng.uniform(0.4, 0.8))


def _dense(corners: np.ndarray) -> np.ndarray:
    """Return points of a polyline (n, 2) about five pixels apart."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, lengths[-1], max(int(lengths[-1] / 5), 2))
    return np.stack([np.interp(at, lengths, corners[:, axis]) for axis in (0, 1)], axis=1)
