"""Pictures as applications read and write them: colour in [-1, 1], with what else the file held put back at the end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from fastdiff.apps.images import open_images, reading
from fastdiff.apps.page import Page
from fastdiff.solvers.errors import UsageError

SUFFIXES = {
    ".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff",
    ".heic": "heic", ".heif": "heic",
}  # fmt: skip
KEY = "fastdiff"  # of the text in a PNG that says how it was made
LONGEST_RECORD = 100_000  # characters


@dataclass(frozen=True)
class Picture:
    """An upright picture: its page (see `apps.page`), and its alpha (H, W) uint8 where it is not opaque."""

    page: Page
    alpha: np.ndarray | None

    @property
    def colour(self) -> Tensor:
        """(1, 3, H, W) float32 in [-1, 1]; grey pictures have three equal channels, transparency lies on white."""
        pixels = self.page.pixels
        white = 1 if pixels.dtype == np.bool_ else np.iinfo(pixels.dtype).max
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        return torch.from_numpy(rgb.astype(np.float32) * (2 / white) - 1).movedim(-1, 0)[None]


def read(path: Path) -> Picture:
    """The picture of an image file. Raises UsageError for what is no picture, too large, or has several pages."""
    with open_images(path) as document:
        if document.count > 1:
            raise UsageError(f"{path.name} has {document.count} pages: a picture has one")
        page = document.page(0)
        with reading(path):
            alpha = _alpha(document.image) if document.image.has_transparency_data else None
    return Picture(page, alpha)


def as_bytes(colour: Tensor) -> np.ndarray:
    """Colours (3, H, W) in [-1, 1] as 8-bit pixels (H, W, 3)."""
    return ((colour.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def opaque(of: Picture) -> Picture:
    """The same where it lies on white."""
    return replace(of, alpha=None)


def png_place(out: Path | None) -> Path | None:
    """`out`, which may name a folder or a PNG file. Raises UsageError for another kind of file."""
    if out is not None and not out.is_dir() and out.suffix.lower() in SUFFIXES and out.suffix.lower() != ".png":
        raise UsageError(f"{out}: pictures are written as PNG, which remember how they were made")
    return out


def read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """A picture that is white where an edit may change something, as (1, 1, H, W) in [0, 1] at `size` (H, W)."""
    grey = (read(path).colour.mean(1, keepdim=True) + 1) / 2
    if tuple(grey.shape[-2:]) != size:
        given = f"{grey.shape[-1]} x {grey.shape[-2]}"
        raise UsageError(f"mask {path.name} has {given} pixels: the picture has {size[1]} x {size[0]}")
    return grey


def save(edited: Tensor, like: Picture, path: Path, record: Mapping[str, Any]) -> None:
    """Write colours (3, H, W) in [-1, 1] as a PNG with the alpha, resolution, profile and EXIF of `like`, and the
    record of how it was made."""
    image = Image.fromarray(as_bytes(edited))
    if like.alpha is not None:
        image.putalpha(Image.fromarray(like.alpha))
    text = PngImagePlugin.PngInfo()
    text.add_itxt(KEY, json.dumps(record))
    page = like.page
    about = {"dpi": page.dpi, "icc_profile": page.icc if page.pixels.ndim == 3 else None, "exif": page.exif}
    image.save(path, format="PNG", pnginfo=text, **{name: value for name, value in about.items() if value})


def read_record(path: Path) -> dict[str, Any]:
    """The record that `save` wrote into a PNG. Raises UsageError for a file without one."""
    with open_images(path) as document, reading(path):
        document.image.load()
        text = document.image.info.get(KEY, "")
    try:
        record = json.loads(text) if isinstance(text, str) and len(text) <= LONGEST_RECORD else None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UsageError(f"{path.name} does not say how it was made: give a PNG that fastdiff wrote")
    return record


def _alpha(image: Image.Image) -> np.ndarray | None:
    alpha = np.asarray(ImageOps.exif_transpose(image).convert("RGBA").getchannel("A"))
    return None if (alpha == 255).all() else alpha
