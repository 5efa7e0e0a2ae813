"""Writing pages to image files of every kind, with their resolution and colour profile."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from fastdiff.apps.page import Page
from fastdiff.solvers.errors import OutputError

PNG_HEADER = 33  # bytes of signature and IHDR, after which ancillary chunks may begin
INCH = 0.0254  # metres


def save(page: Page, path: Path, kind: str) -> None:
    """Write one page as `kind` (png, jpg, webp, bmp, tiff, heic).

    Bool pages take one bit in PNG, BMP and TIFF (there CCITT group 4); 16 bits stay in PNG and TIFF and become 8
    elsewhere. JPEG and HEIC are written at quality 95, the rest without loss.
    """
    if kind == "tiff":
        path.unlink(missing_ok=True)
        append_tiff(page, path)
    elif kind == "png" and _is_deep(page):
        path.write_bytes(_deep_png(page))
    else:
        image = Image.fromarray(page.pixels if kind == "png" else to_8_bits(page).pixels)
        if kind in ("jpg", "webp", "heic") and image.mode == "1":
            image = image.convert("L")
        _save_image(image, page, path, kind)


def append_tiff(page: Page, path: Path) -> None:
    """Add one page to the end of a TIFF file, which is made if it is absent."""
    if _is_deep(page):  # PIL has no such mode
        across, down = page.dpi or (1, 1)
        tifffile.imwrite(
            path,
            page.pixels,
            append=path.exists(),
            photometric="rgb",
            compression="zlib",
            resolution=(across, down),
            resolutionunit="INCH" if page.dpi else "NONE",
            iccprofile=page.icc,
            metadata=None,
        )
        return
    compression = "group4" if page.pixels.dtype == np.bool_ else "tiff_adobe_deflate"
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=not path.exists()) as file:
        Image.fromarray(page.pixels).save(file, format="TIFF", compression=compression, **_about(page, "dpi", "icc"))
        file.newFrame()


def to_8_bits(page: Page) -> Page:
    """The page with at most 8 bits a channel."""
    if page.pixels.dtype != np.uint16:
        return page
    return replace(page, pixels=((page.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _save_image(image: Image.Image, page: Page, path: Path, kind: str) -> None:
    if kind == "png":
        image.save(path, format="PNG", **_about(page, "dpi", "icc", "exif"))
    elif kind == "jpg":
        image.save(path, format="JPEG", quality=95, subsampling=0, **_about(page, "dpi", "icc", "exif"))
    elif kind == "bmp":
        image.save(path, format="BMP", **_about(page, "dpi"))
    elif kind == "webp":
        if max(image.size) > 16383:
            raise OutputError(f"{image.width} x {image.height} pixels are too many for WebP, at most 16383 a side")
        image.save(path, format="WEBP", lossless=True, **_about(page, "icc", "exif"))
    elif kind == "heic":
        import pillow_heif

        pillow_heif.from_pillow(image).save(path, quality=95, **_about(page, "icc", "exif"))


def _about(page: Page, *names: str) -> dict[str, Any]:
    """The page's metadata of these names as PIL's arguments, without those it lacks."""
    known = {"dpi": ("dpi", page.dpi), "icc": ("icc_profile", page.icc), "exif": ("exif", page.exif)}
    return {key: value for key, value in (known[name] for name in names) if value is not None}


def _is_deep(page: Page) -> bool:
    return page.pixels.dtype == np.uint16 and page.pixels.ndim == 3


def _deep_png(page: Page) -> bytes:
    """A PNG of 16 bits a channel: OpenCV encodes it, the chunks that it cannot write are put in behind the header."""
    _, encoded = cv2.imencode(".png", page.pixels[..., ::-1])
    chunks = b""
    if page.icc:
        chunks += _chunk(b"iCCP", b"icc\0\0" + zlib.compress(page.icc))
    if page.dpi:
        across, down = (round(value / INCH) for value in page.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    data = encoded.tobytes()
    return data[:PNG_HEADER] + chunks + data[PNG_HEADER:]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
