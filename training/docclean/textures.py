"""Banks of paper, crumple, stain and ring textures, made once and cropped many times: float32 (n, side, side)."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Bank:
    """Textures by kind. `grain` and `crumple` are around 0 with standard deviation 1, the others in [0, 1]."""

    grain: np.ndarray  # paper fibre and cloudiness
    crumple: np.ndarray  # light on facets and ridges of crumpled paper
    stain: np.ndarray  # blots: 0 = none, 1 = full, with darker rims
    ring: np.ndarray  # cup rings and smears


@lru_cache(maxsize=2)
def cached_bank(seed: int) -> Bank:
    """Return the bank for patches of a seed, made once in a process."""
    return make_bank(np.random.default_rng(seed))


def make_bank(rng: np.random.Generator, count: int = 24, side: int = 512) -> Bank:
    makers = (grain, crumple, stain, ring)
    return Bank(*(np.stack([maker(rng, side) for _ in range(count)]).astype(np.float32) for maker in makers))


def crop(
    rng: np.random.Generator, textures: np.ndarray, side: int, zoom: tuple[float, float] = (0.5, 1.6)
) -> np.ndarray:
    """Cut a random piece of a random texture, turned and scaled, (side, side)."""
    texture = textures[int(rng.integers(len(textures)))]
    scale = rng.uniform(*zoom)
    angle = rng.uniform(0, 2 * np.pi)
    centre = rng.uniform(0, texture.shape[0], 2)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    half = side / 2
    matrix = np.array([[c, -s, centre[0] - half * (c - s)], [s, c, centre[1] - half * (c + s)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(texture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def cloud(rng: np.random.Generator, side: int, cells: float) -> np.ndarray:
    """Return smooth noise of `cells` cells a side, with a standard deviation of about 1."""
    n = max(int(cells), 1) + 3
    noise = cv2.resize(rng.normal(0, 1, (n, n)).astype(np.float32), (side * 2,) * 2, interpolation=cv2.INTER_CUBIC)
    return noise[side // 2 : side // 2 + side, side // 2 : side // 2 + side] * 1.4


def grain(rng: np.random.Generator, side: int) -> np.ndarray:
    octaves = rng.uniform(0, 1, 5) ** 2 + 0.02
    layers = [weight * cloud(rng, side, cells) for weight, cells in zip(octaves, (4, 16, 64, 160, 420), strict=True)]
    total = sum(layers)
    return (total - total.mean()) / total.std()


def crumple(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return the shading of a height map of flat facets meeting in ridges, lit from one side; made at half size."""
    full, side = side, side // 2
    y, x = np.mgrid[:side, :side].astype(np.float32)
    height = np.zeros((side, side))
    for cells in (4, 8, 16):
        warp = side / cells * 0.35
        u, v = x + warp * cloud(rng, side, cells * 1.5), y + warp * cloud(rng, side, cells * 1.5)
        places = np.stack([u, v], axis=-1).reshape(-1, 2)
        points = rng.uniform(0, side, (cells * cells, 2)).astype(np.float32)
        slopes = rng.normal(0, 1, (cells * cells, 2)).astype(np.float32)
        if rng.random() < 0.5:
            nearest = cKDTree(points).query(places)[1]
            facets = ((places - points[nearest]) * slopes[nearest]).sum(1)
        else:
            facets = (places @ slopes.T - (points * slopes).sum(1)).max(1)
        height += facets.reshape(side, side) / cells**0.7
    height = np.asarray(cv2.GaussianBlur(height, (0, 0), rng.uniform(0.5, 2.0)))
    down, across = np.gradient(height)
    shade = (across if rng.integers(2) else down) + 0.4 * across
    shade = np.clip((shade - shade.mean()) / (shade.std() + 1e-6), -3, 3)
    return cv2.resize(0.8 * shade + 0.2 * cloud(rng, side, 6), (full, full), interpolation=cv2.INTER_CUBIC)


def stain(rng: np.random.Generator, side: int) -> np.ndarray:
    field = cloud(rng, side, rng.uniform(2, 10)) + 0.3 * cloud(rng, side, 40) * rng.random()
    field += 0.1 * cloud(rng, side, 150)
    level = np.quantile(field, rng.uniform(0.5, 0.95))
    edge = rng.uniform(0.02, 0.5)
    body = np.clip((field - level) / edge, 0, 1)
    rim = np.exp(-(((field - level) / (edge + 0.05)) ** 2)) * rng.uniform(0, 0.8)
    return np.clip(body * rng.uniform(0.4, 1) + rim * (field > level), 0, 1)


def ring(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    wobble = cloud(rng, side, 5)
    total = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(2, 5)):
        cx, cy = rng.uniform(-0.1 * side, 1.1 * side, 2)
        radius, width = side * rng.uniform(0.08, 0.4), side * rng.uniform(0.006, 0.06)
        distance = np.hypot(x - cx, (y - cy) * rng.uniform(0.85, 1.2)) + wobble * rng.uniform(0, 6) - radius
        band = np.clip(1.4 - np.abs(distance) / width, 0, 1) * np.clip(0.6 + cloud(rng, side, 3) * 0.5, 0, 1)
        inside = (distance < 0) * rng.uniform(0, 0.4) * (rng.random() < 0.4)
        total = np.maximum(total, np.maximum(band, inside) * rng.uniform(0.4, 1))
    return np.clip(total * (1 + 0.12 * cloud(rng, side, 60)), 0, 1)
