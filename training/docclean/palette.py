"""Draws the colours of paper and ink of rendered colour pages: RGB float32 (3,) in [0, 1]."""

import colorsys

import numpy as np

from fastdiff.apps.docclean.imaging import paper

Rng = np.random.Generator

MARGIN = 0.03  # of saturation, between coloured and aged paper as the application separates them
YELLOWED = 0.22  # largest saturation of bright aged paper
PENCIL = (95, 200)  # grey levels of pencil on white paper


def from_hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert a hue in degrees, a saturation and a value in [0, 1] to RGB."""
    return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value), np.float32)


def choose_ink(rng: Rng) -> np.ndarray:
    """Draw black, grey, a strong colour or a pale one."""
    match rng.choice(["black", "grey", "colour", "pale"], p=[0.48, 0.12, 0.28, 0.12]):
        case "black":
            return np.full(3, rng.uniform(0, 0.08), np.float32)
        case "grey":
            return np.full(3, rng.uniform(0.15, 0.6), np.float32)
        case "colour":
            return choose_strong(rng)
    return from_hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.9))


def choose_strong(rng: Rng) -> np.ndarray:
    """Draw the ink of pens, stamps and coloured print: blue, red, green, violet or any other hue."""
    hue = rng.choice([225, 355, 140, 275, rng.uniform(0, 360)], p=[0.35, 0.25, 0.15, 0.1, 0.15]) + rng.normal(0, 10)
    return from_hsv(hue, rng.uniform(0.5, 1), rng.uniform(0.3, 0.85))


def choose_pencil(rng: Rng) -> np.ndarray:
    """Draw graphite of the grey levels PENCIL, or a coloured pencil as pale."""
    grey = rng.uniform(*PENCIL) / 255
    return np.full(3, grey, np.float32) if rng.random() < 0.85 else from_hsv(rng.uniform(0, 360), 0.35, max(grey, 0.6))


def choose_highlighter(rng: Rng) -> np.ndarray:
    """Draw a fluorescent colour: yellow, green, pink, orange or blue."""
    hue = rng.choice([58, 95, 330, 32, 190], p=[0.4, 0.2, 0.2, 0.1, 0.1]) + rng.normal(0, 5)
    return from_hsv(hue, rng.uniform(0.3, 0.85), rng.uniform(0.93, 1))


def choose_fill(rng: Rng) -> np.ndarray:
    """Draw the fill of a box or a bar: grey, stain-like beige, strong or pale."""
    match rng.choice(["grey", "beige", "strong", "pale"], p=[0.25, 0.2, 0.15, 0.4]):
        case "grey":
            return np.full(3, rng.uniform(0.55, 0.95), np.float32)
        case "beige":
            return from_hsv(rng.uniform(*paper.WARM), rng.uniform(0.05, 0.4), rng.uniform(0.55, 0.97))
        case "strong":
            return choose_strong(rng)
    return from_hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.5), rng.uniform(0.75, 1))


def choose_tint(rng: Rng) -> np.ndarray:
    """Draw coloured paper, for which `Paper.tinted` is True."""
    hue = rng.uniform(0, 360) if rng.random() < 0.7 else rng.uniform(45, 60)
    least = MARGIN + (paper.WARM_TINT if paper.WARM[0] <= hue <= paper.WARM[1] else paper.COLD_TINT)
    return from_hsv(hue, rng.uniform(least, least + 0.3), rng.uniform(0.85, 1))


def choose_aged(rng: Rng, tone: float) -> np.ndarray:
    """Draw neutral paper of lightness `tone`, yellowed or not; dark paper may be brown."""
    largest = YELLOWED if tone > 0.75 else 0.42
    saturation = rng.uniform(0, largest) * (rng.random() < 0.6)
    return from_hsv(rng.uniform(28, 50), saturation, tone)
