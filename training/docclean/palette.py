"""Colours of paper and ink on rendered colour pages: RGB float32 (3,) in [0, 1]."""

import colorsys

import numpy as np

from fastdiff.apps.docclean import paper

Rng = np.random.Generator

MARGIN = 0.03  # of saturation, between coloured and aged paper as the application tells them apart
YELLOWED = 0.22  # largest saturation of bright aged paper
PENCIL = (95, 200)  # grey levels of pencil on white paper


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """The RGB colour of a hue in degrees, a saturation and a value in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value), np.float32)


def ink(rng: Rng) -> np.ndarray:
    """Black, dark grey, a strong colour or a pale one."""
    match rng.choice(["black", "grey", "colour", "pale"], p=[0.48, 0.12, 0.28, 0.12]):
        case "black":
            return np.full(3, rng.uniform(0, 0.08), np.float32)
        case "grey":
            return np.full(3, rng.uniform(0.15, 0.6), np.float32)
        case "colour":
            return strong(rng)
    return hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.9))


def strong(rng: Rng) -> np.ndarray:
    """Ink of pens, stamps and coloured print: blue, red, green, violet or any other hue."""
    hue = rng.choice([225, 355, 140, 275, rng.uniform(0, 360)], p=[0.35, 0.25, 0.15, 0.1, 0.15]) + rng.normal(0, 10)
    return hsv(hue, rng.uniform(0.5, 1), rng.uniform(0.3, 0.85))


def pencil(rng: Rng) -> np.ndarray:
    """Graphite of the grey levels PENCIL, or a coloured pencil as pale."""
    grey = rng.uniform(*PENCIL) / 255
    return np.full(3, grey, np.float32) if rng.random() < 0.85 else hsv(rng.uniform(0, 360), 0.35, max(grey, 0.6))


def highlighter(rng: Rng) -> np.ndarray:
    """A fluorescent colour that text shows through: yellow, green, pink, orange or blue."""
    hue = rng.choice([58, 95, 330, 32, 190], p=[0.4, 0.2, 0.2, 0.1, 0.1]) + rng.normal(0, 5)
    return hsv(hue, rng.uniform(0.3, 0.85), rng.uniform(0.93, 1))


def fill(rng: Rng) -> np.ndarray:
    """The ground of a box or a bar: mostly pale; grey, beige as stains are, or of any colour."""
    match rng.choice(["grey", "beige", "strong", "pale"], p=[0.25, 0.2, 0.15, 0.4]):
        case "grey":
            return np.full(3, rng.uniform(0.55, 0.95), np.float32)
        case "beige":
            return hsv(rng.uniform(*paper.WARM), rng.uniform(0.05, 0.4), rng.uniform(0.55, 0.97))
        case "strong":
            return strong(rng)
    return hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.5), rng.uniform(0.75, 1))


def tint(rng: Rng) -> np.ndarray:
    """Coloured paper, saturated enough not to be taken for aged paper or for a drifted white balance."""
    hue = rng.uniform(0, 360) if rng.random() < 0.7 else rng.uniform(45, 60)
    least = MARGIN + (paper.WARM_TINT if paper.WARM[0] <= hue <= paper.WARM[1] else paper.COLD_TINT)
    return hsv(hue, rng.uniform(least, least + 0.3), rng.uniform(0.85, 1))


def aged(rng: Rng, tone: float) -> np.ndarray:
    """Neutral paper of a brightness `tone`, yellowed or not; dark paper may be brown."""
    largest = YELLOWED if tone > 0.75 else 0.42
    saturation = rng.uniform(0, largest) * (rng.random() < 0.6)
    return hsv(rng.uniform(28, 50), saturation, tone)
