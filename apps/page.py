"""One page as pixels with what is needed to write it back: resolution, colour profile, depth."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from fastdiff.solvers.errors import UsageError

ON_WHITE = "transparency was put on white paper"
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")


@dataclass(frozen=True)
class Page:
    """An upright page.

    `pixels` is uint8 or uint16, grey (H, W) or RGB (H, W, 3), or bool (H, W) with True for paper, which is written
    with one bit. `dpi` is (horizontal, vertical); `icc` and `exif` are raw blocks or None. `bilevel` says that the
    source has one bit a pixel, `lossy` that it was compressed with loss; `note` is a remark for the report.
    """

    pixels: np.ndarray
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    bilevel: bool = False
    lossy: bool = False
    note: str | None = None


def from_image(image: Image.Image, decoded: np.ndarray | None = None) -> Page:
    """Decode a PIL image: orientation applied, palettes and CMYK resolved, transparency put on white.

    Grey of 1, 8 and 16 bits, RGB, palettes and CMYK (by its ICC profile if there is one) are known; UsageError for
    other modes. `decoded` are the upright pixels (H, W) or (H, W, 3 or 4) where another reader had to find them.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    icc, dpi, bilevel = image.info.get("icc_profile"), _resolution(image), image.mode == "1"
    lossy, exif = image.format in ("JPEG", "MPO", "HEIF"), _exif(image)
    if dpi and orientation >= 5:  # the axes change places
        dpi = dpi[::-1]
    if decoded is not None:
        pixels, note = _decoded_on_white(decoded)
    else:
        image.load()
        if image.format != "TIFF":  # whose orientation PIL applies as it loads
            image = ImageOps.exif_transpose(image)
        image, note = _on_white(image)
        if image.mode == "CMYK":
            image, icc = _from_cmyk(image, icc), None
        pixels = _pixels(image)
    return Page(pixels, dpi, icc, exif, bilevel, lossy, note)


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Pixels an inch, or None where the file holds none or a placeholder."""
    across, down = (_unrounded(float(value)) for value in image.info.get("dpi", (0, 0)))
    return (across, down) if min(across, down) > 1 else None


def _unrounded(dpi: float) -> float:
    """Undo PNG's rounding to whole pixels a metre: half of one is 0.0127 an inch."""
    return round(dpi) if abs(dpi - round(dpi)) <= 0.0127 else dpi


def _on_white(image: Image.Image) -> tuple[Image.Image, str | None]:
    if not image.has_transparency_data:
        return image, None
    grey = image.mode in ("LA", "La", "L", "1")
    layered = image.convert("RGBA")
    paper = Image.new("RGBA", layered.size, "white")
    paper.alpha_composite(layered)
    opaque = layered.getchannel("A").getextrema() == (255, 255)
    return paper.convert("L" if grey else "RGB"), None if opaque else ON_WHITE


def _decoded_on_white(pixels: np.ndarray) -> tuple[np.ndarray, str | None]:
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, None
    colour, cover = pixels[..., :3].astype(np.uint32), pixels[..., 3:].astype(np.uint32)
    white = np.uint32(np.iinfo(pixels.dtype).max)
    laid = (colour * cover + white * (white - cover) + white // 2) // white
    return laid.astype(pixels.dtype), None if (cover == white).all() else ON_WHITE


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):  # a damaged profile, or one of another colour space
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in GREY_16:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise UsageError("it has more than 16 bits a channel: 1, 8 and 16 are known")
        return values.astype(np.uint16)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "YCbCr", "RGBX"):
        rgb = np.asarray(image.convert("RGB"))
        return np.ascontiguousarray(rgb[..., 0]) if is_grey(rgb) else rgb
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    raise UsageError(f"its colour mode {image.mode} is not known: grey, RGB, palette and CMYK are")


def is_grey(rgb: np.ndarray) -> bool:
    """Whether the three channels of (H, W, 3) pixels are equal everywhere."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all())


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF block of a photograph without its orientation; TIFF keeps its tags in the file itself."""
    if "exif" not in image.info:
        return None
    exif = Image.Exif()
    exif.load(image.info["exif"])
    exif.pop(ExifTags.Base.Orientation, None)
    return exif.tobytes() if len(exif) else None
