"""Augmentation of scenes by the errors of generators, codecs and cameras, and outliers: pictures that are no scenes."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from fastdiff.models.patch_codec import PatchCodec
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.scenes import SIDE

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # pictures are (SIDE, SIDE, 3) uint8
TILE = 32  # pixels of the pieces of a mosaic


def augment(picture: np.ndarray, rng: np.random.Generator, codec: PatchCodec) -> np.ndarray:
    """The picture after a random subset of the augmentations; one in four is unchanged."""
    if rng.random() < 0.25:
        return picture
    coded = through_codec(codec)
    for probability, change in ((0.5, tinted), (0.4, blurred), (0.5, coded), (0.3, grainy), (0.4, compressed)):
        if rng.random() < probability:
            picture = change(picture, rng)
    return picture


def tinted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every channel a little stronger or weaker, lighter or darker."""
    return _rounded(picture * rng.uniform(0.88, 1.12, 3) + rng.uniform(-12, 12, 3))


def blurred(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus by up to one and a half pixels."""
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.5))


def grainy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With white noise."""
    return _rounded(picture + rng.normal(0, rng.uniform(1, 14), picture.shape))


def compressed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through JPEG."""
    _, stored = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))


def through_codec(codec: PatchCodec) -> Augmentation:
    """A round trip of the codec with noise of up to 0.4 deviations on the latents, as errors of a generator."""

    def change(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        latents = codec.encode(as_tensor(picture)[None]).latent_dist.mode()
        errors = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
        decoded = codec.decode(latents + rng.uniform(0, 0.4) * errors, return_dict=False)[0][0]
        return _rounded((decoded.movedim(0, -1).numpy() + 1) * 127.5)

    return change


def outlier(rng: np.random.Generator, scenes: Sequence[np.ndarray]) -> np.ndarray:
    """A picture that is no scene: a mosaic of pieces of scenes, two scenes in one, or clouds of random colours."""
    kind = rng.integers(4)
    if kind == 0:
        return mosaic(rng, scenes)
    if kind == 1:
        first, second = rng.permutation(len(scenes))[:2]
        return _rounded(scenes[first] * 0.5 + scenes[second] * 0.5)
    return clouds(rng)


def mosaic(rng: np.random.Generator, scenes: Sequence[np.ndarray]) -> np.ndarray:
    """Every tile from somewhere in one of the scenes."""
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    for top in range(0, SIDE, TILE):
        for left in range(0, SIDE, TILE):
            y, x = rng.integers(SIDE - TILE, size=2)
            scene = scenes[int(rng.integers(len(scenes)))]
            picture[top : top + TILE, left : left + TILE] = scene[y : y + TILE, x : x + TILE]
    return picture


def clouds(rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency as that of photographs does (Field 1987), of random colours."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((3, SIDE, SIDE)))
    waves = np.fft.irfft2(white / frequency ** rng.uniform(0.8, 2.0), (SIDE, SIDE))
    waves = np.tensordot(rng.normal(size=(3, 3)) + rng.uniform(0, 2), waves / waves.std(), 1)
    waves = np.sign(waves) * np.abs(waves) ** rng.uniform(0.3, 1.5)  # from hard to soft edges
    return _rounded((waves * rng.uniform(20, 70) + rng.uniform(40, 215, (3, 1, 1))).transpose(1, 2, 0))


def _rounded(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture.clip(0, 255)).astype(np.uint8)
