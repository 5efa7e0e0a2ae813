"""Simple ways to clean a picture before it is classified, uint8 (H, W, 3): what an attack survives."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

SHRUNK = 0.9  # of the sides, in resize-pad


def jpeg(picture: np.ndarray, quality: int = 75) -> np.ndarray:
    """Through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def bit_depth(picture: np.ndarray, bits: int = 4) -> np.ndarray:
    """With fewer bits a channel (Xu et al. 2018, arXiv 1704.01155)."""
    levels = 2**bits - 1
    reduced: np.ndarray = (np.round(picture / 255 * levels) / levels * 255).round()
    return reduced.astype(np.uint8)


def resize_pad(picture: np.ndarray) -> np.ndarray:
    """Shrunk, in the middle of a black frame of the old size (Xie et al. 2018, arXiv 1711.01991, without chance)."""
    height, width = picture.shape[:2]
    down, right = max(1, round(SHRUNK * height)), max(1, round(SHRUNK * width))
    small = cv2.resize(picture, (right, down), interpolation=cv2.INTER_AREA)
    top, left = (height - down) // 2, (width - right) // 2
    return np.pad(small, ((top, height - down - top), (left, width - right - left), (0, 0)))


DEFENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg-75": jpeg,
    "bit-depth-4": bit_depth,
    "resize-pad": resize_pad,
}
