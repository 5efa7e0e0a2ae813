"""One page as pixels with the data to write it back: resolution, colour profile, depth, metadata."""

import io
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from fastdiff.apps.images.metadata import Metadata
from fastdiff.solvers.errors import UsageError

ON_WHITE = "transparency was put on white paper"
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
MOST_DPI = 65_535  # the most that JPEG can hold
ICC_SIGNATURE = slice(36, 40)
PILLOWS_DPI = (72, 72)  # of a JPEG with EXIF without a resolution
BITS_PER_SAMPLE, PHOTOMETRIC, MIN_IS_WHITE = 258, 262, 0  # of TIFF
LUMA = (0.299, 0.587, 0.114)  # Rec. 601
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Colour = tuple[int, int, int]  # RGB, 0 to 255


@dataclass(frozen=True)
class Page:
    """An upright page.

    `pixels` is uint8 or uint16, grey (H, W) or RGB (H, W, 3), or bool (H, W) with True for paper, written with one bit.
    `dpi` is (horizontal, vertical); `icc` is a raw profile or None; `metadata` is that of the upright page. `bilevel`
    is True for a source with one bit a pixel, `lossy` for one compressed with loss. `note` is a remark for the report.
    `ink_and_paper` are the two colours of a page of one bit a pixel that is not black and white: its pixels show black
    ink on white paper, and `in_colour` restores the colours.
    """

    pixels: np.ndarray
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    metadata: Metadata | None = None
    bilevel: bool = False
    lossy: bool = False
    note: str | None = None
    ink_and_paper: tuple[Colour, Colour] | None = None


def from_image(
    image: Image.Image, decoded: np.ndarray | None = None, metadata: Metadata | None = None, bits: int = 8
) -> Page:
    """Decode a PIL image: apply orientation, resolve palettes and CMYK, put transparency on white.

    Decodes grey of 1, 8, 12 and 16 bits, RGB, palettes and CMYK (by its ICC profile if there is one); raises UsageError
    for other modes. Of two colours of one bit a pixel, the darker becomes black, the lighter white. `decoded` are the
    upright pixels (H, W) or (H, W, 3 or 4) if another reader had to decode them; `metadata` is that of the file; `bits`
    is the number of bits of an index into its palette.
    """
    turn = orientation(image)
    icc, dpi, about = image.info.get("icc_profile"), _resolution(image), metadata
    if icc and icc[ICC_SIGNATURE] != b"acsp":
        icc, about = None, replace(about or Metadata(), unread=(*(about.unread if about else ()), "colour profile"))
    lossy, ink_and_paper = image.format in ("JPEG", "MPO", "HEIF", "AVIF"), None
    if dpi and turn >= 5:  # the axes change places
        dpi = dpi[::-1]
    if decoded is not None:
        bilevel = False
        pixels, note = _decoded_on_white(decoded)
    else:
        image.load()
        colours = _two_colours(image, bits)
        bilevel = colours is not None or _is_bilevel(image)
        is_tiff, levels = image.format == "TIFF", _grey_levels(image)
        image, note = _on_white(image)
        if image.mode == "CMYK":
            image, icc = _from_cmyk(image, icc), None
        pixels = _pixels(image, levels, has_profile=icc is not None)
        if colours and (icc or colours != (BLACK, WHITE)):
            pixels, ink_and_paper = _black_on_white(pixels, colours[1]), colours
        if not is_tiff:  # PIL applies the orientation of a TIFF as it loads
            pixels = np.ascontiguousarray(upright(pixels, turn))
    return Page(pixels, dpi, icc, about and about.upright(turned=turn >= 5), bilevel, lossy, note, ink_and_paper)


def one_bit(page: Page) -> Page:
    """Return the page with bool pixels if its source has one bit a pixel."""
    pixels = page.pixels
    if not page.bilevel or pixels.dtype == np.bool_ or pixels.ndim != 2:
        return page
    return replace(page, pixels=pixels > np.iinfo(pixels.dtype).max // 2)


def in_colour(page: Page) -> Page:
    """Return the page with 8 bits a channel in its two colours, grey if both are; other pages stay unchanged."""
    if page.ink_and_paper is None:
        return page
    is_paper = page.pixels if page.pixels.dtype == np.bool_ else page.pixels > np.iinfo(page.pixels.dtype).max // 2
    ink, paper = np.array(page.ink_and_paper, np.uint8)
    rgb = np.where(is_paper[..., None], paper, ink)
    pixels = np.ascontiguousarray(rgb[..., 0]) if is_grey(rgb) and page.icc is None else rgb
    return replace(page, pixels=pixels, bilevel=False, ink_and_paper=None)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 if it is absent or unreadable."""
    value = _exif_tag(image, ExifTags.Base.Orientation)
    return value if value in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8, to pixels (H, W, ...) (Exif 2.32, tag 274); other values change nothing."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def _exif_tag(image: Image.Image, tag: int) -> Any:
    """Return the value of an EXIF tag, or None if it is absent or EXIF is damaged."""
    try:
        return image.getexif().get(tag)
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, struct.error):
        return None


def _two_colours(image: Image.Image, bits: int) -> tuple[Colour, Colour] | None:
    """Return the colours of an image of one bit a pixel with a palette, on white paper, the darker first.

    A GIF has one bit if it uses two places of its table of colours, however many the table has.
    """
    if image.mode != "P" or (bits != 1 and image.format != "GIF"):
        return None
    indices = [0, 1] if bits == 1 else np.unique(np.asarray(image)).tolist()
    if len(indices) != 2:
        return None
    both = image.crop((0, 0, 2, 1))
    both.putdata(indices)
    rgb = np.asarray(_on_white(both)[0].convert("RGB"))[0]
    ink, paper = (tuple(colour.tolist()) for colour in rgb[np.argsort(rgb @ LUMA, kind="stable")])
    return (ink, paper) if ink != paper else None


def _black_on_white(pixels: np.ndarray, paper: Colour) -> np.ndarray:
    """Return pixels, grey (H, W) or RGB (H, W, 3), with white for the colour `paper` and black for all others."""
    rgb = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.where((rgb == paper).all(axis=-1), np.uint8(255), np.uint8(0))


def _is_bilevel(image: Image.Image) -> bool:
    """True if the image has one bit a pixel: black and white, or a palette of two colours."""
    if image.mode == "1":
        return True
    two = image.mode == "P" and len(image.getpalette("RGB") or ()) == 6
    if not two and image.format != "GIF":  # the table of a GIF may have more places than it needs
        return False
    colours = image.convert("RGB").getcolors(2) or []
    return {colour for _, colour in colours} == {(0, 0, 0), (255, 255, 255)}


def _grey_levels(image: Image.Image) -> tuple[int, bool]:
    """Return the bits of a grey value in PIL's 16-bit mode, and True if 0 is white, which PIL does not resolve."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16,))
    return bits[0] if isinstance(bits, tuple) else bits, tags.get(PHOTOMETRIC, 1) == MIN_IS_WHITE


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Return pixels per inch; None if the file holds none or a placeholder."""
    dpi = image.info.get("dpi", (0, 0))
    if dpi == PILLOWS_DPI and image.info.get("jfif_unit") == 0 and _exif_tag(image, ExifTags.Base.XResolution) is None:
        return None
    across, down = (_unrounded(float(value)) for value in dpi)
    return (across, down) if min(across, down) > 1 and max(across, down) <= MOST_DPI else None


def _unrounded(dpi: float) -> float:
    """Undo the rounding of PNG to whole pixels per metre: half of one is 0.0127 per inch."""
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


def _pixels(image: Image.Image, levels: tuple[int, bool], *, has_profile: bool) -> np.ndarray:
    if image.mode in GREY_16:
        values = np.asarray(image)
        bits, zero_is_white = levels
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise UsageError("it has more than 16 bits a channel: 1, 8 and 16 are known")
        grey = values.astype(np.uint16)
        if bits == 12:
            grey = (grey << 4 | grey >> 8).astype(np.uint16)
        return ~grey if zero_is_white and bits <= 16 else grey
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "YCbCr", "RGBX"):
        rgb = np.asarray(image.convert("RGB"))
        return np.ascontiguousarray(rgb[..., 0]) if is_grey(rgb) and not has_profile else rgb
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    raise UsageError(f"its colour mode {image.mode} is not known: grey, RGB, palette and CMYK are")


def is_grey(rgb: np.ndarray) -> bool:
    """True if the three channels of (H, W, 3) pixels are equal everywhere."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all())
