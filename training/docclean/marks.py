"""Draws marks over printed pages, multiplied into their pixels: pens, pencil, stamps, highlighter and rules.

Every function changes `page`, RGB uint8 (H, W, 3), in place.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fastdiff.training.docclean import palette, pen
from fastdiff.training.docclean.fonts import Face
from fastdiff.training.docclean.textures import cloud

Rng = np.random.Generator


def multiply(page: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> None:
    """Multiply the page by ink of a colour (3,) in [0, 1]; `coverage` (H, W) is its share of each pixel."""
    rows, columns = np.nonzero(coverage.any(1))[0], np.nonzero(coverage.any(0))[0]
    if not len(rows):
        return
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    page[part] = np.round(page[part] * (1 - coverage[part][..., None] * (1 - colour))).astype(np.uint8)


def draw_signature(rng: Rng, page: np.ndarray, colour: np.ndarray, widest: float = 4) -> None:
    """Draw a line of joined loops with a swing under it, at most `widest` pixels wide."""
    side = page.shape[0]
    height = rng.uniform(14, 60)
    points = pen.cursive(rng, int(height * rng.uniform(3, 7)), height)
    points = points + np.array([rng.uniform(0, side * 0.7), rng.uniform(height, side)])
    ink = np.full(page.shape[:2], 255, np.uint8)
    width = rng.uniform(1, widest)
    pressure = np.interp(np.arange(len(points)), np.linspace(0, len(points), 10), rng.uniform(0.6, 1.4, 10))
    pen.stroke(ink, points, np.maximum(width * pressure, 1))
    if rng.random() < 0.5:
        start = points[-1]
        swing = np.linspace(start, start + np.array([-rng.uniform(40, 200), rng.uniform(5, 40)]), 30)
        swing[:, 1] += np.sin(np.linspace(0, np.pi, 30)) * rng.uniform(-30, 30)
        pen.stroke(ink, swing, np.full(30, width))
    multiply(page, (255 - ink) / np.float32(255), colour)


def write_note(rng: Rng, page: np.ndarray, face: Face, text: str, colour: np.ndarray, grain: float = 0.0) -> None:
    """Write one line at a slight slope; `grain` in [0, 1] breaks strokes up as graphite does."""
    side = page.shape[0]
    note = Image.new("L", (side, side), 0)
    place = rng.uniform(-20, side * 0.6), rng.uniform(0, side - 40)
    ImageDraw.Draw(note).text(place, text, fill=255, font=face.at(rng.uniform(18, 48)))
    coverage = np.array(note.rotate(rng.normal(0, 4), Image.Resampling.BICUBIC)) / np.float32(255)
    if grain:
        coverage = coverage * np.clip(1 - grain * np.abs(rng.normal(0, 0.5, coverage.shape)), 0, 1).astype(np.float32)
    multiply(page, coverage, colour)


def stamp(rng: Rng, page: np.ndarray, face: Face, words: tuple[str, str]) -> None:
    """Print a round or square rubber stamp: double rims, words, uneven ink, any slope."""
    side = int(rng.uniform(90, 260))
    image = Image.new("L", (side * 2, side * 2), 0)
    draw = ImageDraw.Draw(image)
    rim = round(rng.uniform(2, 9))
    middle = side
    if rng.random() < 0.55:
        radius = side - 6
        draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), outline=255, width=rim)
        if rng.random() < 0.6:
            inner = radius * rng.uniform(0.6, 0.85)
            draw.ellipse((middle - inner, middle - inner, middle + inner, middle + inner), outline=255, width=rim // 2)
        if rng.random() < 0.3:
            image = _round_text(image, face, words[1], radius * 0.92, max(radius * 0.14, 10))
            draw = ImageDraw.Draw(image)
        half = radius * 0.3
    else:
        half = side * rng.uniform(0.25, 0.5)
        draw.rounded_rectangle((6, middle - half, 2 * side - 6, middle + half), rng.uniform(0, 30), None, 255, rim)
    size = max(min(half * 0.9, 2.6 * side / max(len(words[0]), 1)), 12)
    draw.text((middle, middle - half * 0.25), words[0].upper(), 255, face.at(size), anchor="mm")
    draw.text((middle, middle + half * 0.6), words[1], 255, face.at(max(size * 0.5, 10)), anchor="mm")
    image = image.rotate(rng.normal(0, 12), Image.Resampling.BICUBIC).reduce(2)
    coverage = np.array(image) / np.float32(255)
    patchy, grainy = rng.uniform(0, 0.3) * cloud(rng, side, 5), rng.uniform(0, 0.2) * cloud(rng, side, 60)
    uneven = np.clip(0.85 + patchy + grainy, 0.25, 1)
    top, left = rng.integers(-side // 4, page.shape[0] - side // 2, 2)
    whole = np.zeros(page.shape[:2], np.float32)
    rows, columns = (slice(max(start, 0), min(start + side, page.shape[0])) for start in (top, left))
    whole[rows, columns] = (coverage * uneven)[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    multiply(page, whole, palette.choose_strong(rng))


def highlight(rng: Rng, page: np.ndarray, height: float) -> None:
    """Draw broad straight felt-tip strokes over lines of text `height` pixels high, darker where they overlap."""
    side, colour = page.shape[0], palette.choose_highlighter(rng)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, side * 0.7), rng.uniform(0, side)
        length, slope = rng.uniform(60, 400), rng.normal(0, 0.015)
        stroke = np.zeros(page.shape[:2], np.uint8)
        ends = ((round(x), round(y)), (round(x + length), round(y + length * slope)))
        cv2.line(stroke, *ends, 255, max(round(height * rng.uniform(1, 2.2)), 5), cv2.LINE_AA)
        edge = np.clip(1 + 0.12 * cloud(rng, side, 40), 0.7, 1)
        multiply(page, stroke / np.float32(255) * edge, colour)


def draw_rules(rng: Rng, page: np.ndarray) -> None:
    """Draw solid, dashed or dotted lines of 1 to 3 pixels at any angle, mostly level or upright."""
    side, colour = page.shape[0], palette.choose_ink(rng) if rng.random() < 0.6 else palette.choose_pencil(rng)
    width = int(rng.choice([1, 1, 1, 2, 3]))
    period, share = rng.uniform(3, 14), rng.uniform(0.3, 0.7)
    solid = rng.random() < 0.5
    for _ in range(rng.integers(1, 9)):
        start, length = rng.uniform(0, side, 2), rng.uniform(60, side)
        angle = rng.choice([0, np.pi / 2]) if rng.random() < 0.85 else rng.uniform(0, np.pi)
        step = np.array([np.cos(angle), np.sin(angle)])
        whole = np.zeros(page.shape[:2], np.uint8)
        pieces = [(0.0, length)] if solid else [(at, at + period * share) for at in np.arange(0, length, period)]
        smooth = cv2.LINE_AA if rng.random() < 0.5 else cv2.LINE_8
        for first, last in pieces:
            a, b = (np.round(start + step * place).astype(int).tolist() for place in (first, last))
            cv2.line(whole, a, b, 255, width, smooth)
        multiply(page, whole / np.float32(255), colour)


def draw_discs(rng: Rng, page: np.ndarray) -> None:
    """Draw filled discs of a radius of 2 to 60 pixels."""
    colour = palette.choose_strong(rng) if rng.random() < 0.7 else palette.choose_ink(rng)
    for _ in range(rng.integers(1, 6)):
        centre = rng.integers(0, page.shape[0], 2).tolist()
        whole = np.zeros(page.shape[:2], np.uint8)
        cv2.circle(whole, centre, round(np.exp(rng.uniform(np.log(2), np.log(60)))), 255, -1, cv2.LINE_AA)
        multiply(page, whole / np.float32(255), colour)


def _round_text(image: Image.Image, face: Face, text: str, radius: float, size: float) -> Image.Image:
    """Draw text along the inside of a circle around the middle."""
    font, middle = face.at(size), image.width // 2
    total = max(font.getlength(text), 1)
    done = 0.0
    for letter in text:
        width = font.getlength(letter)
        angle = (done + width / 2 - total / 2) / (radius - size)
        turned = Image.new("L", image.size, 0)
        ImageDraw.Draw(turned).text((middle, middle - radius + size * 0.8), letter, 255, font, anchor="mm")
        turned = turned.rotate(-np.rad2deg(angle), Image.Resampling.BICUBIC, center=(middle, middle))
        image.paste(255, (0, 0), turned)
        done += width
    return image
