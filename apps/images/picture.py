"""Pictures of the applications: colour in [-1, 1]; writing restores the other contents of the file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, PngImagePlugin
from torch import Tensor

from fastdiff.apps.images.image_document import open_images, reading
from fastdiff.apps.images.kinds import IMAGE_SUFFIXES
from fastdiff.apps.images.page import Page, in_colour, orientation, upright
from fastdiff.solvers.errors import UsageError

SUFFIXES = IMAGE_SUFFIXES
OUTPUTS = ("png", "jpg", "webp")  # kinds of outputs
KEY = "fastdiff"  # key of the text in a PNG with the record of how it was made
USER_COMMENT, ASCII = ExifTags.Base.UserComment, b"ASCII\0\0\0"  # place and encoding of the record in other kinds
JPEG_QUALITY = 95
ONE_COLOUR = 16  # levels by which channels of one paint may differ, of 255
LONGEST_RECORD = 100_000  # characters


@dataclass(frozen=True)
class Picture:
    """An upright picture: its page (see `images.page`) and, if it was not opaque, its layer.

    `layer`, RGBA (H, W, 4) uint8, is the content before it was put on white. `frame` says which picture of several it
    is, in a clause.
    """

    page: Page
    layer: np.ndarray | None
    frame: str | None = None

    @property
    def colour(self) -> Tensor:
        """(1, 3, H, W) float32 in [-1, 1]; grey pictures have three equal channels, transparency lies on white."""
        pixels = self.page.pixels
        white = 1 if pixels.dtype == np.bool_ else np.iinfo(pixels.dtype).max
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        return torch.from_numpy(rgb.astype(np.float32) * (2 / white) - 1).movedim(-1, 0)[None]

    @property
    def loss(self) -> str | None:
        """A clause on the content that `save` does not keep."""
        depth = "its 16 bits a channel became 8" if self.page.pixels.dtype == np.uint16 else None
        return "; ".join(filter(None, (self.frame, depth))) or None


def read(path: Path, *, first_frame: bool = False) -> Picture:
    """Read the picture of an image file; with `first_frame`, an animation counts as its first frame.

    Raises UsageError if it is no picture, too large, or has several pages.
    """
    with open_images(path, first_frame=first_frame) as document:
        if document.count > 1:
            raise UsageError(f"{path.name} has {document.count} pages: a picture has one")
        page = in_colour(document.page(0))
        with reading(path):
            layer = _layer(document.image) if document.image.has_transparency_data else None
    return Picture(page, layer, document.left_out)


def to_uint8(colour: Tensor) -> np.ndarray:
    """Convert colours (3, H, W) in [-1, 1] to 8-bit pixels (H, W, 3)."""
    return ((colour.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def without_alpha(of: Picture) -> Picture:
    """Return the picture without alpha: on white."""
    return replace(of, layer=None)


def check_png_output(out: Path | None) -> Path | None:
    """Return `out`, the name of a folder or a PNG file. Raises UsageError for another kind of file."""
    if out is not None and not out.is_dir() and out.suffix.lower() in SUFFIXES and out.suffix.lower() != ".png":
        raise UsageError(f"{out}: pictures are written as PNG, which remember how they were made")
    return out


def check_output(out: Path | None) -> Path | None:
    """Return `out`, the name of a folder or of a file of OUTPUTS. Raises UsageError for another kind of file."""
    kind = None if out is None or out.is_dir() else SUFFIXES.get(out.suffix.lower())
    if kind is not None and kind not in OUTPUTS:
        raise UsageError(f"{out}: edited pictures are PNG, JPEG or WebP files")
    return out


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a mask, white where an edit may change something, as (1, 1, H, W) in [0, 1].

    Transparent places count as black. A mask that is of one colour where it is not transparent, such as strokes on a
    transparent layer, is its alpha. Raises UsageError as `read` does, for a mask of another `size` (H, W), and for one
    that is black all over.
    """
    picture = read(path)
    grey = (picture.colour.mean(1, keepdim=True) + 1) / 2
    if picture.layer is not None:
        colours, alpha = picture.layer[..., :3], picture.layer[..., 3]
        visible = colours[alpha > 0]
        one_paint = visible.size == 0 or (np.ptp(visible, axis=0) <= ONE_COLOUR).all()
        painted = np.ones_like(alpha, float) if one_paint else colours.mean(2) / 255
        grey = torch.from_numpy(painted * alpha / 255).float()[None, None]
    if size is not None and tuple(grey.shape[-2:]) != size:
        given = f"{grey.shape[-1]} x {grey.shape[-2]}"
        raise UsageError(f"mask {path.name} has {given} pixels: the picture has {size[1]} x {size[0]}")
    if not grey.any():
        raise UsageError(f"mask {path.name} is black all over: paint it white where pixels may change")
    return grey


def save(edited: Tensor, like: Picture, path: Path, record: Mapping[str, Any] | None, kind: str = "png") -> None:
    """Write colours (3, H, W) in [-1, 1], which lie on white, with a record of how they were made.

    `kind` is one of OUTPUTS: PNG and WebP keep every pixel and the alpha of `like`, JPEG has quality JPEG_QUALITY, on
    white. The file has the resolution and the profile of `like`, and its EXIF unless `record` is None. A PNG holds the
    record as a text with the key KEY, other kinds hold it as the user comment of EXIF.
    """
    pixels = to_uint8(edited)
    if like.layer is not None and kind != "jpg":
        pixels = _off_white(pixels, pixels == to_uint8(like.colour[0]), like.layer)
    page = like.page
    about: dict[str, Any] = {"dpi": page.dpi, "icc_profile": page.icc if page.pixels.ndim == 3 else None}
    exif = page.metadata.exif if page.metadata and record is not None else None
    if kind == "png":
        about |= {"exif": exif, "pnginfo": None if record is None else _text(record)}
    else:
        about |= {"exif": exif if record is None else _with_comment(exif, json.dumps(record))}
        about |= {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "jpg" else {"lossless": True, "exact": True}
    kept = {name: value for name, value in about.items() if value is not None}
    Image.fromarray(pixels).save(path, format={"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[kind], **kept)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record that `save` wrote into a picture. Raises UsageError for a file without one."""
    with open_images(path, first_frame=True) as document, reading(path):
        document.image.load()
        text = document.image.info.get(KEY, "") or _comment(document.image)
    try:
        record = json.loads(text) if isinstance(text, str) and len(text) <= LONGEST_RECORD else None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UsageError(f"{path.name} does not say how it was made: give a picture that fastdiff wrote")
    return record


def _text(record: Mapping[str, Any]) -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_itxt(KEY, json.dumps(record))
    return text


def _with_comment(exif: bytes | None, text: str) -> bytes:
    """Return EXIF with a user comment (Exif 2.32, tag 37510) of ASCII characters."""
    content = Image.Exif()
    if exif:
        content.load(exif)
    content.get_ifd(ExifTags.IFD.Exif)[USER_COMMENT] = ASCII + text.encode("ascii")
    return content.tobytes()


def _comment(image: Image.Image) -> str:
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(USER_COMMENT, b"")
    return comment[len(ASCII) :].decode("ascii", "replace") if bytes(comment[: len(ASCII)]) == ASCII else ""


def _layer(image: Image.Image) -> np.ndarray | None:
    turn = 1 if image.format == "TIFF" else orientation(image)  # PIL applies the orientation of a TIFF as it loads
    rgba = np.ascontiguousarray(upright(np.asarray(image.convert("RGBA")), turn))
    return None if (rgba[..., 3] == 255).all() else rgba


def _off_white(pixels: np.ndarray, same: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return the layer (H, W, 4) with the alpha of `layer` that gives these pixels (H, W, 3) on white.

    Its colours are those of `layer` if they give the `same` (H, W, 3) already, or are invisible.
    """
    colour, alpha = layer[..., :3], layer[..., 3:]
    cover = np.maximum(alpha, 1) / 255
    lifted = (255 - (255 - pixels.astype(np.float32)) / cover).round().clip(0, 255)
    return np.concatenate([np.where(same | (alpha == 0), colour, lifted).astype(np.uint8), alpha], axis=-1)
