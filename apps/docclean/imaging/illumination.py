"""Evens out the light on the paper of a page and changes nothing else: marks keep their contrast against the paper.

A smooth field is fitted to the paper on a small copy of the page; figures, strokes and dark margins are outliers. The
page is divided by the field. Stains and hard shadows stay, since the field is smooth.
"""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import paper

CELLS = 128  # on the longer side of the copy in which the field is fitted
FINEST = 900  # pixels on the longer side of the copy in which strokes are filled
STROKE = 1 / 110  # of the longer side of the page: width up to which dark strokes are filled before measuring
REACHES = (0.32, 0.16, 0.08)  # standard deviations of the Gaussians of the field's details, of the longer side
BANDS = (0.09, 0.055, 0.04, 0.04)  # largest deviation of paper cells from the field, fit by fit
TINGE = 0.025  # largest deviation of a paper cell's channel from the field, relative to the other channels
REFITS = 3  # fits without the cells of another tinge
STEEP = (0.05, 0.12)  # largest change from cell to cell of paper, relative to the field: on smooth, on rough pages
LEAST = 0.15  # share of the cells, and
SPREAD = 4  # ninths of the page, that paper covers at least: else the page has no paper
ROUGH, MOST, WIDEST = 0.2, 0.35, 7  # the same for crumpled paper: deviation, share of the cells, ninths of the page
PLAIN, WIDE = 0.2, 5  # share of the cells within the last band, and ninths of the page that have some
BRIGHTER, FEW = 1.1, 0.05  # times the field, and the largest share of cells as bright as that on a page with paper
DARKEST = 0.25  # level of paper
HARDEST = 3.0  # largest factor by which a channel is brightened
ROWS = 256  # processed at a time


def even_out(pixels: np.ndarray) -> np.ndarray:
    """Return the page on evenly lit paper: uint8 or uint16, grey (H, W) or RGB (H, W, 3), of the same type.

    Near-neutral paper becomes white; coloured paper keeps its colour. A page without paper is returned unchanged.
    """
    field = fit_field(pixels)
    if field is None:
        return pixels
    white = np.iinfo(pixels.dtype).max
    target = _target(field)
    gain = np.minimum(target / np.maximum(field, 1e-3), HARDEST).astype(np.float32)
    height, width = pixels.shape[:2]
    out = np.empty_like(pixels)
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        lit = pixels[rows] * upsampled_rows(gain, rows, height, width)
        out[rows] = np.rint(np.minimum(lit, white, out=lit))
    return out


def fit_field(pixels: np.ndarray) -> np.ndarray | None:
    """Fit the level of the paper over the page: float32 in [0, 1], (h, w) or (h, w, 3), on a small copy; None without
    paper.

    First fits a polynomial of degree two. Details follow where there is paper, and fade where there is none.
    """
    cells = _cells(pixels)
    light = cells.mean(-1)
    steepness = _steepness(light)
    calm = steepness < np.clip(np.median(steepness), *STEEP)
    level = _bright_level(light, calm)
    if level < DARKEST:
        return None
    basis = _basis(*light.shape)
    plane = _bright_plane(light, calm, basis)
    inside = calm & _is_near(light, plane, BANDS[0])
    if not _is_paper(inside, LEAST, SPREAD):
        rough = _is_near(light, plane, ROUGH)
        colours = _fit(cells, rough, basis)
        found = _is_paper(rough, MOST, WIDEST) and _is_plain(light, colours.mean(-1))
        return _shaped(colours, pixels) if found else None
    colours = _fit_one_colour(cells, inside, basis)
    for band, reach in zip(BANDS[1:], REACHES, strict=True):
        inside = calm & _is_near(light, colours.mean(-1), band) & (_tinge(cells, colours) < TINGE)
        if not _is_paper(inside, LEAST, SPREAD):
            return None
        colours = colours + _details(cells - colours, inside, reach)
    return _shaped(colours, pixels) if _is_plain(light, colours.mean(-1)) else None


def _shaped(colours: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return a field (h, w, C) as float32 with as many dimensions as the page."""
    colours = np.clip(colours, 0.02, None).astype(np.float32)
    return colours if pixels.ndim == 3 else colours[..., 0]


def _cells(pixels: np.ndarray) -> np.ndarray:
    """Return the page without strokes, float32 (h, w, C) in [0, 1], with at most CELLS on the longer side."""
    step = max(-(-max(pixels.shape[:2]) // FINEST), 1)
    height, width = (max(length // step, 1) for length in pixels.shape[:2])
    whole = pixels[: height * step, : width * step]  # a whole number of steps, which is fast
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    stroke = max(3, round(max(small.shape[:2]) * STROKE)) | 1
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((stroke, stroke), np.uint8))
    shrink = min(1.0, CELLS / max(closed.shape[:2]))
    height, width = (max(round(length * shrink), 1) for length in closed.shape[:2])
    cells = cv2.resize(cv2.medianBlur(closed, 3), (width, height), interpolation=cv2.INTER_AREA)
    cells = np.divide(cells, np.iinfo(pixels.dtype).max, dtype=np.float32)
    return cells.reshape(height, width, -1)


def _steepness(light: np.ndarray) -> np.ndarray:
    """Return the largest change to a neighbour, relative to the brighter of the two."""
    span = cv2.dilate(light, np.ones((3, 3))) - cv2.erode(light, np.ones((3, 3)))
    return span / np.maximum(cv2.dilate(light, np.ones((3, 3))), 0.05)


def _bright_level(light: np.ndarray, calm: np.ndarray) -> float:
    return float(np.quantile(light[calm], 0.7)) if calm.any() else 0.0


def _basis(height: int, width: int) -> np.ndarray:
    """Return the monomials up to degree two at every cell, float64 (height, width, 6)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _bright_plane(light: np.ndarray, calm: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Fit a polynomial near the bright end of the calm cells; cells far below it do not count."""
    a, b = basis[calm], light[calm]
    weights = np.clip((b - np.quantile(b, 0.3)) / max(float(np.ptp(b)), 1e-3), 0.02, None)
    fitted = b
    for _ in range(12):
        fitted = a @ _solve(a, b, weights)
        relative = b / np.maximum(fitted, 0.02) - 1
        weights = np.where(relative > 0, 1.0, 0.12) * np.exp(-((relative / np.where(relative > 0, 0.3, 0.1)) ** 2))
    plane: np.ndarray = basis @ _solve(a, b, weights)
    return plane


def _solve(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = a * weights[:, None]
    return np.linalg.solve(weighted.T @ a + 1e-4 * weights.sum() * np.diag([0, 1, 1, 1, 1, 1]), weighted.T @ b)


def _is_near(light: np.ndarray, field: np.ndarray, band: float) -> np.ndarray:
    near: np.ndarray = np.abs(light / np.maximum(field, 0.02) - 1) < band
    return near


def _is_paper(inside: np.ndarray, least: float, ninths_with_paper: int) -> bool:
    ninths = [part for row in np.array_split(inside, 3, 0) for part in np.array_split(row, 3, 1)]
    spread = sum(bool(part.size) and part.mean() > 0.05 for part in ninths)
    return bool(inside.mean() >= least) and spread >= min(ninths_with_paper, inside.size)


def _is_plain(light: np.ndarray, field: np.ndarray) -> bool:
    """True if much of the page is as light as its paper and little is lighter, unlike photographs."""
    relative = light / np.maximum(field, 0.02)
    near, brighter = np.abs(relative - 1) < BANDS[-1], relative > BRIGHTER
    return bool(_is_paper(near, PLAIN, WIDE) and brighter.mean() < FEW)


def _fit(cells: np.ndarray, inside: np.ndarray, basis: np.ndarray) -> np.ndarray:
    fitted: np.ndarray = basis @ _solve(basis[inside], cells[inside], np.ones(int(inside.sum())))
    return fitted


def _fit_one_colour(cells: np.ndarray, inside: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Fit without the cells whose tinge differs from that of most: pale fills as light as paper."""
    colours = _fit(cells, inside, basis)
    for _ in range(REFITS):
        plain = inside & (_tinge(cells, colours) < TINGE)
        if not _is_paper(plain, LEAST, SPREAD):
            break
        colours = _fit(cells, plain, basis)
    return colours


def _tinge(cells: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the deviation of the worst channel from the field, relative to all channels: (h, w)."""
    relative = cells / np.maximum(colours, 0.02)
    worst: np.ndarray = np.abs(relative - relative.mean(-1, keepdims=True)).max(-1)
    return worst


def _details(rest: np.ndarray, inside: np.ndarray, reach: float) -> np.ndarray:
    """Return the difference between paper and smooth field, averaged over the paper nearby; 0 without paper nearby."""
    sigma = reach * max(inside.shape)
    share = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma)
    known = cv2.GaussianBlur((rest * inside[..., None]).astype(np.float32), (0, 0), sigma)
    details: np.ndarray = known.reshape(rest.shape) / (share + 0.05)[..., None]
    return details


def _target(field: np.ndarray) -> np.ndarray:
    """Return the colour (3,) or () that the paper is given: white, or the paper's own if it is coloured."""
    if field.ndim == 2:
        return np.ones((), np.float32)
    found = paper.Paper(np.clip(np.median(field.reshape(-1, 3), axis=0), 0.05, 1))
    return found.colour if found.tinted else np.ones(3, np.float32)


def upsampled_rows(gain: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Return rows of a small field, enlarged linearly to a page of height x width."""
    place = np.clip((np.arange(rows.start, rows.stop) + 0.5) * len(gain) / height - 0.5, 0, len(gain) - 1)
    first = np.minimum(place.astype(int), max(len(gain) - 2, 0))
    share = (place - first).astype(np.float32).reshape(-1, *[1] * (gain.ndim - 1))
    strip: np.ndarray = gain[first] * (1 - share) + gain[np.minimum(first + 1, len(gain) - 1)] * share
    return cv2.resize(strip, (width, len(strip)), interpolation=cv2.INTER_LINEAR)
