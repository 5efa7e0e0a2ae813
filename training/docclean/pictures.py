"""Makes the pictures of rendered colour pages: photographs, halftones of them, and portraits; RGB uint8 (H, W, 3)."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from fastdiff.training.docclean import palette

Rng = np.random.Generator

LONG_SIDE = 900  # pixels on the longer side of stored photographs
SKINS = ((28, 0.25, 0.95), (24, 0.4, 0.85), (22, 0.5, 0.65), (20, 0.55, 0.4))  # hue, saturation, value


def shrink(photos: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return copies of at most LONG_SIDE pixels on the longer side."""
    copies = []
    for photo in photos:
        scale = min(1.0, LONG_SIDE / max(photo.shape[:2]))
        copies.append(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return copies


def crop_photograph(rng: Rng, photos: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Crop a random part of a random photograph, in colour or grey, at the contrast of print."""
    photo = photos[int(rng.integers(len(photos)))]
    rows, columns = photo.shape[:2]
    scale = min(rows / height, columns / width) * rng.uniform(0.35, 1)
    part_height, part_width = max(int(height * scale), 4), max(int(width * scale), 4)
    top, left = int(rng.integers(rows - part_height + 1)), int(rng.integers(columns - part_width + 1))
    part = photo[top : top + part_height, left : left + part_width]
    shrinking = part_height > height
    picture = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    black, white = rng.uniform(0, 60), rng.uniform(215, 255)  # print is never as deep as a screen
    return np.clip(black + picture * ((white - black) / 255), 0, 255).astype(np.uint8)


def print_halftone(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Print a picture in dots of one ink, or of cyan, magenta and yellow."""
    height, width = picture.shape[:2]
    period = rng.uniform(3, 7)
    if rng.random() < 0.6:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        dots = _dots(grey, period, np.pi / 4)[..., None]
        ink = palette.choose_strong(rng) if rng.random() < 0.3 else np.full(3, 0.05)
        return _uint8(1 - dots * (1 - ink))
    out = np.ones((height, width, 3), np.float32)
    for channel, angle in enumerate(np.deg2rad([15, 75, 0])):
        out[..., channel] -= 0.9 * _dots(picture[..., channel] / np.float32(255), period, angle)
    return _uint8(out)


def draw_portrait(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw a softly lit head and shoulders before a plain ground, of no real person."""
    ground = palette.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.35), rng.uniform(0.55, 0.97))
    picture = np.ones((height, width, 3), np.float32) * ground
    skin = palette.from_hsv(*SKINS[int(rng.integers(len(SKINS)))])
    hair = palette.from_hsv(rng.uniform(15, 45), rng.uniform(0, 0.7), rng.uniform(0.05, 0.6))
    clothes = palette.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.8), rng.uniform(0.1, 0.9))
    x, y = width * rng.uniform(0.45, 0.55), height * rng.uniform(0.4, 0.48)
    a, b = width * rng.uniform(0.17, 0.24), height * rng.uniform(0.2, 0.27)
    _ellipse(picture, x, height * 1.08, width * rng.uniform(0.38, 0.5), height * 0.36, clothes)
    _ellipse(picture, x, y + b, a * 0.5, b * 0.6, skin * 0.85)
    _ellipse(picture, x, y - b * 0.15, a * 1.15, b * 1.15, hair)
    _ellipse(picture, x, y + b * 0.12, a, b * 0.95, skin)
    for side in (-1, 1):
        _ellipse(picture, x + side * a * 0.42, y, a * 0.14, b * 0.07, hair * 0.5)
    _ellipse(picture, x, y + b * 0.6, a * 0.32, b * 0.06, skin * np.array([0.8, 0.5, 0.5], np.float32))
    picture = cv2.GaussianBlur(picture, (0, 0), max(width / 70, 0.6))
    light = 1 + 0.25 * (np.linspace(-1, 1, width, dtype=np.float32) * rng.choice([-1, 1]))[None, :, None]
    grain = cv2.GaussianBlur(rng.normal(0, 0.06, (height, width, 3)).astype(np.float32), (0, 0), 0.8)
    return _uint8(picture * light + grain)


def _ellipse(picture: np.ndarray, x: float, y: float, a: float, b: float, colour: np.ndarray) -> None:
    centre, axes = (round(x), round(y)), (max(round(a), 1), max(round(b), 1))
    cv2.ellipse(picture, centre, axes, 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA)


def _dots(grey: np.ndarray, period: float, angle: float) -> np.ndarray:
    """Return the coverage (H, W) in [0, 1] of the dots that print a grey (H, W) in [0, 1]."""
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32) * np.float32(2 * np.pi / period)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.clip(((2 + np.cos(u) + np.cos(v)) / 4 - grey) * period + 0.5, 0, 1)


def _uint8(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
