"""Pen strokes without a font: cursive-like lines, flourishes, ruled and struck-out text."""

import cv2
import numpy as np


def cursive(rng: np.random.Generator, length: int, height: float) -> np.ndarray:
    """Return a line of joined loops from left to right, (n, 2) points in pixels around a baseline at 0."""
    t = np.arange(0, length, max(height / 24, 0.5))
    # Loops come from x running back and forth while y swings; slowly varying amplitudes make "letters".
    wander = lambda low, high, pace: np.interp(  # noqa: E731
        t, np.linspace(0, length, max(int(length / (height * pace)), 2)),
        rng.uniform(low, high, max(int(length / (height * pace)), 2)),
    )  # fmt: skip
    phase = np.cumsum(wander(0.6, 1.6, 0.7)) * (t[1] - t[0]) * 2 * np.pi / (height * rng.uniform(0.8, 1.3))
    swing = height * wander(0.15, 1.0, 0.8)
    x = t + height * wander(0.1, 0.5, 1.5) * np.sin(phase + rng.uniform(0, 6))
    y = -swing * (0.5 - 0.5 * np.cos(phase)) + height * 0.4 * wander(-1, 1, 3) * (rng.random() < 0.5)
    return np.stack([x + rng.uniform(-0.2, 0.6) * -y, y], axis=1)


def stroke(ink: np.ndarray, points: np.ndarray, width: np.ndarray, scale: int = 8) -> None:
    """Draw a polyline of varying width (pixels, one value a point) into `ink` (uint8, 0 = ink), sub-pixel exact."""
    fixed = np.round(points * scale).astype(np.int32)
    for a, b, w in zip(fixed[:-1], fixed[1:], width, strict=False):
        cv2.line(ink, a.tolist(), b.tolist(), 0, max(round(w), 1), cv2.LINE_AA, shift=int(np.log2(scale)))


def write(rng: np.random.Generator, ink: np.ndarray, height: float) -> None:
    """Fill the page with lines of cursive of x-height `height` pixels, broken into words."""
    rows, columns = ink.shape
    base_width = height * rng.uniform(0.08, 0.3)
    y = height * 2.5
    while y < rows:
        x = rng.uniform(0, 3 * height)
        while x < columns:
            length = int(height * rng.uniform(2, 9))
            points = cursive(rng, length, height)
            pressure = np.interp(np.arange(len(points)), np.linspace(0, len(points), 12), rng.uniform(0.5, 1.5, 12))
            slope = np.abs(np.gradient(points[:, 1])) / (np.abs(np.gradient(points, axis=0)).sum(1) + 1e-6)
            stroke(ink, points + np.array([x, y]), base_width * pressure * (0.6 + 0.8 * slope))
            x += length + height * rng.uniform(0.8, 2.5)
        y += height * rng.uniform(2.2, 4)


def flourish(rng: np.random.Generator, ink: np.ndarray) -> None:
    """Draw one long smooth stroke: the flourish of a signature, an underline, a line that strikes something out."""
    rows, columns = ink.shape
    knots = rng.uniform([0, 0], [columns, rows], (int(rng.integers(2, 6)), 2))
    t = np.linspace(0, len(knots) - 1, 120)
    points = np.stack([np.interp(t, np.arange(len(knots)), knots[:, k]) for k in (0, 1)], axis=1)
    smooth = cv2.GaussianBlur(points.astype(np.float32), (1, 0), sigmaX=0.01, sigmaY=10)
    stroke(ink, smooth, np.full(120, rng.uniform(1, 6)))
