"""Degrades clean colour patches as scanners and cameras do, without moving shapes.

Every step maps float32 (side, side, 3) in [0, 1] to the same. Paper, folds, stains and light are those of `degrade`,
made on a blank page and multiplied into the colours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.training.docclean import degrade, palette
from fastdiff.training.docclean.textures import Bank, cloud, crop

Rng = np.random.Generator

DRIFT = 0.025  # standard deviation of a white balance, a share of each channel
DARKEST = {"archive": 0.55}  # lightness of aged paper by profile, elsewhere 0.8
OPTICS = 0.2  # largest defocus, in glyph heights: more is the task of deblurring


@dataclass(frozen=True)
class Scene:
    """The inputs that all steps of a patch share: back page (side, side, 3), x-height, textures, `white` and `light`.

    `white` (3,) is the colour in which white appears: aged paper times exposure and white balance. `light` is the power
    of the remaining uneven light: 1 on a given page, less on an evened-out one.
    """

    back: np.ndarray
    x_height: float
    bank: Bank
    white: np.ndarray
    light: float = 1.0

    @property
    def blank(self) -> np.ndarray:
        return np.ones(self.back.shape[:2], np.float32)


def choose_white(rng: Rng, neutral: bool, profile: str) -> np.ndarray:
    """Draw `Scene.white` for a profile. Neutral paper may have aged; coloured paper has not."""
    if profile == "clean":
        return np.ones(3, np.float32)
    drift = np.clip(rng.normal(0, DRIFT, 3), -2 * DRIFT, 2 * DRIFT)
    if not neutral:
        return (rng.uniform(0.85, 1.02) * (1 + 0.5 * drift)).astype(np.float32)
    paper = palette.choose_aged(rng, rng.uniform(DARKEST.get(profile, 0.8), 1))
    return (paper * rng.uniform(0.8, 1.03) * (1 + drift)).astype(np.float32)


def degrade_colour(rng: Rng, clean: np.ndarray, scene: Scene, profile: str) -> np.ndarray:
    """Return a degraded version of `clean`, float32 (side, side, 3), quantised to 8 bits.

    Profiles: "scan" (an office scanner), "phone" (uneven light, shadows), "stain" (dirty and folded paper), "archive"
    (old paper and show-through), "clean" (almost nothing).
    """
    image = clean
    for step in PROFILES[profile]:
        image = step(rng, image, scene)
    return compress(rng, np.clip(add_sensor_noise(rng, image, weak=profile == "clean"), 0, 1))


def fade_ink(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Make ink a little paler, in places unevenly along the paper's grain."""
    strength = np.full(image.shape[:2], rng.uniform(0.85, 1), np.float32)
    if rng.random() < 0.35:
        strength *= np.clip(0.85 + 0.15 * crop(rng, scene.bank.grain, image.shape[0]), 0.5, 1)
    ground = image.max(axis=(0, 1))
    return ground - (ground - image) * strength[..., None]


def add_show_through(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Multiply by the mirrored, blurred and pale back page in half of the patches."""
    if rng.random() > 0.5:
        return image
    sigma = max(scene.x_height * rng.uniform(0.06, 0.25), 0.8)
    back = cv2.GaussianBlur(np.ascontiguousarray(scene.back[:, ::-1]), (0, 0), sigma)
    depth = rng.uniform(0.03, 0.3) * np.clip(0.8 + 0.4 * crop(rng, scene.bank.grain, image.shape[0]), 0.1, 1.3)
    return image * (1 - (1 - back) * depth[..., None])


def apply_paper(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Multiply by `Scene.white` and the paper's grain, and lifts black."""
    image = image ** rng.uniform(0.95, 1.2)
    black = rng.uniform(0, 0.12)
    texture = rng.uniform(0, 0.04) * crop(rng, scene.bank.grain, image.shape[0], (0.5, 4))
    return scene.white * (black + (1 - black) * image) * (1 + texture[..., None])


def add_stains(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Add blots, rings and foxing: brown and yellow, in a quarter of the patches grey."""
    depth = 1 - degrade.add_stains(rng, scene.blank, scene.blank, scene.x_height, scene.bank)[..., None]
    brown = np.array([rng.uniform(0.15, 0.6), rng.uniform(0.4, 0.8), rng.uniform(0.7, 1)], np.float32)
    absorbed = brown if rng.random() < 0.75 else np.full(3, 0.8, np.float32)
    return image * (1 - depth * absorbed)


def spill(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Add to a third of the patches one dark blot with a clear edge, through which print still shows."""
    if rng.random() > 0.33:
        return image
    side = image.shape[0]
    field = cloud(rng, side, rng.uniform(1, 5)) + 0.1 * cloud(rng, side, 40)
    distance = (field - np.quantile(field, rng.uniform(0.55, 0.95))) / rng.uniform(0.02, 0.3)
    cover = np.clip(distance, 0, 1) * np.clip(1 + 0.1 * crop(rng, scene.bank.grain, side), 0.6, 1.2)
    rim = rng.uniform(0, 0.5) * np.exp(-(distance**2)) * (distance > 0)
    dark = palette.from_hsv(rng.uniform(15, 50), rng.uniform(0, 0.7), rng.uniform(0.25, 0.8))
    return image * (1 - np.clip(cover + rim, 0, 1.2)[..., None] * (1 - dark)).clip(0.05, 1).astype(np.float32)


def crumple(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    return image * degrade.crumple(rng, scene.blank, scene.blank, scene.x_height, scene.bank)[..., None]


def scatter_specks(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Scatter dust over a quarter of the patches: single dark grains, smaller than full stops of usual print."""
    if rng.random() > 0.25:
        return image
    side = image.shape[0]
    noise = cv2.GaussianBlur(rng.random((side, side), np.float32), (0, 0), rng.uniform(0.4, 0.9))
    grains = noise < np.quantile(noise, 10 ** rng.uniform(-3.7, -2.3))
    return np.where(grains[..., None], image * rng.uniform(0.2, 0.75), image)


def add_speckle(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    return image * degrade.add_speckle(rng, scene.blank, scene.blank, scene.x_height, scene.bank)[..., None]


def apply_light(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Apply smooth illumination of smoothly varying colour, and in places a binding shadow along one edge."""
    side = image.shape[0]
    field = np.clip(1 + rng.uniform(0, 0.12) * cloud(rng, side, 1), 0.6, 1.1)[..., None]
    if rng.random() < 0.3:
        field = field * (1 + rng.normal(0, 0.025, 3) * cloud(rng, side, 1)[..., None])
    if rng.random() < 0.15:
        far = np.linspace(0, side, side, dtype=np.float32) - rng.uniform(-0.2, 0.5) * side
        shade = rng.uniform(0.2, 0.8) * np.exp(-np.maximum(far, 0) / rng.uniform(6, 50))
        field = field * (1 - np.rot90(np.tile(shade, (side, 1)), int(rng.integers(4))))[..., None]
    return image * field.astype(np.float32) ** scene.light


def apply_uneven_light(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Apply the illumination of a page before a camera: gradients, and soft or hard bluish shadows."""
    field = degrade.apply_light(rng, scene.blank, scene.blank, scene.x_height, scene.bank)
    field = field / np.quantile(field, rng.uniform(0.3, 1))
    bluish = np.array([1 + rng.uniform(0, 0.15), 1, 1 - rng.uniform(0, 0.15)], np.float32)
    return image * field[..., None].astype(np.float32) ** (scene.light * bluish).astype(np.float32)


def soften(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)) if rng.random() < 0.6 else image


def blur(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    """Blur half of the patches by a little defocus or camera shake."""
    glyph = 1.4 * scene.x_height
    if rng.random() < 0.5:
        return image
    reach = min(glyph, 40) * rng.uniform(0.02, OPTICS)
    kernel = degrade.defocus_kernel(reach) if rng.random() < 0.6 else degrade.motion_kernel(rng, 2 * reach)
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def lower_resolution(rng: Rng, image: np.ndarray, scene: Scene) -> np.ndarray:
    return degrade.lower_resolution(rng, image, image, scene.x_height, scene.bank)


def add_sensor_noise(rng: Rng, image: np.ndarray, weak: bool) -> np.ndarray:
    """Add noise, per channel or common, fine or coarse; in some patches dead pixels."""
    sigma = rng.uniform(0, 0.004) if weak else rng.uniform(0, 0.03)
    shape = image.shape if rng.random() < 0.6 else (*image.shape[:2], 1)
    noise: np.ndarray = rng.standard_normal(shape, np.float32) * np.float32(sigma)
    if not weak and rng.random() < 0.3:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.2))).reshape(shape) * 2
    if not weak and rng.random() < 0.05:
        dead = rng.random(image.shape[:2]) < rng.uniform(0, 0.01)
        image = np.where(dead[..., None], rng.integers(0, 2), image)
    return image + noise


def compress(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Quantise to 8 bits and compresses half of the patches as JPEG, mostly with 4:2:0 chroma."""
    levels = np.round(image * 255).astype(np.uint8)
    if rng.random() < 0.5:
        halved = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if rng.random() < 0.8 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 96)), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, halved]
        _, data = cv2.imencode(".jpg", levels[..., ::-1], quality)
        levels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return levels.astype(np.float32) / 255


Step = Callable[[Rng, np.ndarray, Scene], np.ndarray]
PROFILES: dict[str, tuple[Step, ...]] = {
    "scan": (fade_ink, add_show_through, apply_paper, scatter_specks, apply_light, blur, soften),
    "phone": (fade_ink, apply_paper, crumple, apply_uneven_light, blur, soften, lower_resolution),
    "stain": (fade_ink, apply_paper, add_stains, spill, crumple, scatter_specks, apply_light, soften),
    "archive": (
        fade_ink, add_show_through, apply_paper, add_stains, spill, crumple, scatter_specks, apply_light, add_speckle,
        soften, lower_resolution,
    ),
    "clean": (),
}  # fmt: skip
