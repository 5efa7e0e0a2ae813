"""Degrades clean patches as scanners and cameras do, in this order: paper, ink, light, optics, sensor, codec.

Every step maps float32 (side, side) in [0, 1], 1 = white, to the same. Ranges are wider than those measured on archives
and phones.
"""

from collections.abc import Callable

import cv2
import numpy as np

from fastdiff.training.docclean.textures import Bank, cloud, crop

Rng = np.random.Generator


def degrade(rng: Rng, clean: np.ndarray, other: np.ndarray, x_height: float, bank: Bank, profile: str) -> np.ndarray:
    """Return a degraded version of `clean`; `other` is a page that may shine through. Both are float32 (side, side).

    Profiles: "stain" (paper, stains, light), "archive" (old ink on old paper), "blur" (optics on a fair page), "scan"
    (a little of everything), "clean" (almost nothing).
    """
    image = clean
    for step in PROFILES[profile]:
        image = step(rng, image, other, x_height, bank)
    noisy = add_sensor_noise(rng, image, strong=profile == "archive", weak=profile == "clean")
    return compress(rng, np.clip(noisy, 0, 1))


def vary_ink(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    """Make ink paler than black, and dry in places."""
    strength = np.array(rng.uniform(0.7, 1.0))
    if rng.random() < 0.4:
        strength = strength * np.clip(0.75 + 0.25 * crop(rng, bank.grain, image.shape[0]), 0.35, 1)
    return 1 - (1 - image) * strength


def age_ink(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    """Fade ink unevenly and in grains, and let a mirrored back page shine through."""
    side = image.shape[0]
    strength = np.array(rng.uniform(0.3, 1.0))
    unevenness = rng.uniform(0, 0.35) * crop(rng, bank.grain, side, (0.3, 1.5))
    strength = strength * np.clip(1 + unevenness, 0.4, 1)
    faded = 1 - (1 - image) * strength
    if rng.random() < 0.3:  # toner or pen skips on the paper's grain
        skips = np.clip(1.2 + crop(rng, bank.grain, side, (0.2, 0.6)) * rng.uniform(0.2, 0.6), 0, 1)
        faded = 1 - (1 - faded) * skips
    if rng.random() < 0.6:
        faded = faded * show_through(rng, other, x_height, bank)
    return faded


def show_through(rng: Rng, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    back = cv2.GaussianBlur(other[:, ::-1], (0, 0), max(x_height * rng.uniform(0.03, 0.2), 0.5))
    depth = rng.uniform(0.03, 0.5) * np.clip(0.8 + 0.4 * crop(rng, bank.grain, other.shape[0]), 0.1, 1.3)
    return 1 - (1 - back) * np.clip(depth, 0, 0.6)


def add_speckle(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    """Add the dense dark grains of a dirty copy, below a shadow or a worn drum."""
    if rng.random() > 0.12:
        return image
    side = image.shape[0]
    dense = rng.uniform(0.02, 0.45) * np.clip(cloud(rng, side, rng.uniform(1, 4)) + rng.uniform(-0.5, 1), 0, 1.5)
    noise = cv2.GaussianBlur(rng.random((side, side), np.float32), (0, 0), rng.uniform(0.3, 0.8))
    grains = noise < np.quantile(noise, 0.5) * dense
    return np.where(grains, image * rng.uniform(0.2, 0.8), image)


def apply_paper(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    image = image ** rng.uniform(0.9, 1.5)  # ink spreads into the paper and shadows itself: edges darken
    tone = rng.uniform(0.55, 1.0) if rng.random() < 0.7 else rng.uniform(0.85, 1.0)
    black = rng.uniform(0, 0.25)
    texture = rng.uniform(0, 0.045) * crop(rng, bank.grain, image.shape[0], (0.5, 4))
    return (black + (tone - black) * image) * (1 + texture)


def apply_fair_paper(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    tone, black = rng.uniform(0.85, 1.0), rng.uniform(0, 0.2)
    return black + (tone - black) * image


def add_stains(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    side = image.shape[0]
    for textures, chance in ((bank.stain, 0.45), (bank.ring, 0.4)):
        if rng.random() < chance:
            depth = rng.uniform(0.05, 0.75)
            image = image * (1 - depth * crop(rng, textures, side, (0.4, 2.5)))
    if rng.random() < 0.12:  # foxing: many small dots
        dots = np.clip(crop(rng, bank.stain, side, (0.15, 0.3)) * 2 - 0.8, 0, 1)
        image = image * (1 - rng.uniform(0.1, 0.5) * dots)
    return image


def crumple(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    if rng.random() < 0.5:
        image = image * (1 + rng.uniform(0.02, 0.14) * crop(rng, bank.crumple, image.shape[0], (0.4, 2)))
    for _ in range(rng.integers(0, 3)):
        image = fold_shading(rng, image)
    return image


def fold_shading(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Add a crease: one side darker, falling off, and a bright or dark thin line."""
    side = image.shape[0]
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.2) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    distance = (x - rng.uniform(0, side)) * np.cos(angle) + (y - rng.uniform(0, side)) * np.sin(angle)
    shade = rng.uniform(0.03, 0.35) * np.exp(-np.abs(distance) / rng.uniform(3, 40)) * (distance > 0)
    crease = rng.uniform(-0.25, 0.3) * np.exp(-((distance / rng.uniform(0.5, 1.5)) ** 2))
    return image * (1 - shade) + crease


def apply_light(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    side = image.shape[0]
    if rng.random() < 0.6:  # slowly varying illumination, of which a patch sees a piece
        image = image * np.clip(1 + rng.uniform(0, 0.25) * cloud(rng, side, 1), 0.4, 1.1)
    if rng.random() < 0.25:  # the edge of a shadow, or of a page
        y, x = np.mgrid[:side, :side].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        distance = (x - rng.uniform(0, side)) * np.cos(angle) + (y - rng.uniform(0, side)) * np.sin(angle)
        image = image * (1 - rng.uniform(0.1, 0.6) / (1 + np.exp(-np.clip(distance / rng.uniform(1, 30), -20, 20))))
    return image * rng.uniform(0.7, 1.05)


def soften(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    """Apply the small blur of any scanner."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)) if rng.random() < 0.6 else image


def apply_optics(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    """Apply defocus, motion or both, up to the limit of legibility; measured in glyph heights (1.4 x-heights)."""
    glyph = 1.4 * x_height
    kind = rng.choice(["defocus", "motion", "both"], p=[0.45, 0.42, 0.13])
    if kind != "motion":
        image = cv2.filter2D(
            image, -1, defocus_kernel(glyph * rng.uniform(0.03, 0.5)), borderType=cv2.BORDER_REFLECT_101
        )
    if kind != "defocus":
        image = cv2.filter2D(
            image, -1, motion_kernel(rng, glyph * rng.uniform(0.1, 1.2)), borderType=cv2.BORDER_REFLECT_101
        )
    return image


def lower_resolution(rng: Rng, image: np.ndarray, other: np.ndarray, x_height: float, bank: Bank) -> np.ndarray:
    if rng.random() < 0.25 and x_height > 6:
        side = image.shape[0]
        small = max(int(side * rng.uniform(max(0.4, 4.5 / x_height), 1)), 8)
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    return image


def defocus_kernel(radius: float) -> np.ndarray:
    """Return a defocus kernel: a disc of this radius in pixels, its edge anti-aliased."""
    half = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return kernel / kernel.sum()


def motion_kernel(rng: Rng, length: float) -> np.ndarray:
    """Return a camera-shake kernel: a straight or wandering path of this length in pixels."""
    half = int(np.ceil(length / 2)) + 1
    turn = rng.normal(0, 1, 64) * (0.25 if rng.random() < 0.5 else 0.0)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(turn)
    path = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1), axis=0) * length / 64
    x, y = (path - path.mean(0)).T + half
    kernel = np.zeros((2 * half + 1,) * 2, np.float32)
    x, y = np.clip(x, 0, 2 * half - 0.001), np.clip(y, 0, 2 * half - 0.001)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - x % 1) * np.abs(1 - dy - y % 1)
            np.add.at(kernel, (y.astype(int) + dy, x.astype(int) + dx), weight)
    return kernel / kernel.sum()


def add_sensor_noise(rng: Rng, image: np.ndarray, strong: bool, weak: bool) -> np.ndarray:
    side = image.shape[0]
    sigma = rng.uniform(0, 0.005) if weak else rng.uniform(0, 0.06 if strong else 0.03)
    noise: np.ndarray = rng.standard_normal((side, side), np.float32) * sigma
    if weak:
        return image + noise
    if rng.random() < 0.3:  # photons: brighter means noisier
        noise = noise * np.sqrt(np.clip(image, 0.02, 1)) * 1.5
    if rng.random() < 0.3:  # film grain is coarser than a pixel
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.2))) * 2
    if rng.random() < 0.06:
        image = np.where(rng.random((side, side)) < rng.uniform(0, 0.02), rng.integers(0, 2), image)
    if rng.random() < 0.05:
        image = image + rng.normal(0, 0.03, (1, side)) * (rng.random((1, side)) < 0.1)
    return (image + noise).astype(np.float32)


def compress(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Quantise to whole grey levels, some patches after JPEG."""
    grey = np.round(image * 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 96))])
        grey = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return grey.astype(np.float32) / 255


Step = Callable[[Rng, np.ndarray, np.ndarray, float, Bank], np.ndarray]
PROFILES: dict[str, tuple[Step, ...]] = {
    "stain": (vary_ink, apply_paper, add_stains, crumple, apply_light, soften),
    "archive": (age_ink, apply_paper, add_stains, crumple, apply_light, add_speckle, soften, lower_resolution),
    "blur": (apply_fair_paper, apply_optics, lower_resolution),
    "scan": (vary_ink, apply_paper, add_stains, crumple, apply_light, apply_optics, lower_resolution),
    "clean": (),
}
