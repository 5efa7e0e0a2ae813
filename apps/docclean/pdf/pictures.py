"""The pictures of a scanned PDF page: image objects as upright pixels, and cleaned pixels as image objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf import image_samples
from fastdiff.apps.docclean.pdf.errors import UnsupportedPicture
from fastdiff.apps.docclean.pdf.page_content import Draw, Matrix
from fastdiff.apps.images.page import Page

MUCH_LARGER = 1.5  # than the input's stream: worth a remark
SMALL = 4096  # bytes that are no matter
QUANTIZED = (2, 4)  # bits of grey whose levels are kept


@dataclass(frozen=True)
class Change:
    """New samples of the images drawn as `draws` (indices into `Content.draws`), as a PDF of one image.

    Without a colour space in it, the image's own (a palette's base) stays. `mask` is a PDF of a stencil mask that
    takes the place of a colour-key mask; `opaque` takes all masks away. `private`: the image object is shown elsewhere
    too, or is an inline image, so that an object of its own is drawn in its place. `before` is the number of bytes
    that the old samples take.
    """

    draws: tuple[int, ...]
    image: pikepdf.Pdf
    before: int = 0
    mask: pikepdf.Pdf | None = None
    opaque: bool = False
    private: bool = False


class Picture(Protocol):
    """A picture of a page, to be cleaned by itself."""

    @property
    def megapixels(self) -> float: ...

    def page(self) -> Page:
        """Its upright pixels. Raises UsageError where they are damaged."""
        ...

    def changes(self, cleaned: np.ndarray) -> list[Change]:
        """What puts cleaned pixels, of the size and kind of those of `page` or bool, back in their place."""
        ...


@dataclass(frozen=True)
class Turn:
    """A way of turning pixels upright without loss: swap the axes, then reverse rows and columns."""

    swap: bool
    rows: bool
    columns: bool

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        turned = np.swapaxes(pixels, 0, 1) if self.swap else pixels
        return np.ascontiguousarray(turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1])

    def undo(self, pixels: np.ndarray) -> np.ndarray:
        turned = pixels[:: -1 if self.rows else 1, :: -1 if self.columns else 1]
        return np.ascontiguousarray(np.swapaxes(turned, 0, 1) if self.swap else turned)


def turn_upright(matrix: Matrix, rotation: int) -> Turn:
    """The turn of an image drawn with `matrix` on a page rotated clockwise, to the nearest right angle."""
    for _ in range(rotation // 90):
        a, b, c, d, e, f = matrix
        matrix = (b, -a, d, -c, f, -e)
    a, b, c, d, _, _ = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, rows=d < 0, columns=a < 0)
    return Turn(True, rows=b > 0, columns=c > 0)


@dataclass(frozen=True)
class SinglePicture:
    """An image object that makes a picture by itself; its masks stay."""

    draw: Draw
    draws: tuple[int, ...]
    rotation: int
    private: bool
    name: str

    @property
    def megapixels(self) -> float:
        width, height = image_samples.image_size(self.draw.image, self.name)
        return width * height / 1e6

    def page(self) -> Page:
        samples = image_samples.decode(self.draw.image, self.name)
        shown = self._turn.apply(_on_white(samples.pixels, _opacity(self.draw.image, self.name)))
        return Page(shown, bilevel=samples.bits == 1 and shown.ndim == 2, lossy=samples.lossy)

    def changes(self, cleaned: np.ndarray) -> list[Change]:
        image = self.draw.image
        pixels = self._turn.undo(cleaned)
        samples = image_samples.decode(image, self.name)
        mask = None
        if isinstance(image.get("/Mask"), pikepdf.Array):
            opacity = _opacity(image, self.name)
            assert opacity is not None
            mask = image_samples.encode(opacity < 0.5, image, samples)
            _make_stencil(image_samples.single_image(mask))
        made, before = encode_image(pixels, image, samples), len(image.read_raw_bytes())
        return [Change(self.draws, made, before, mask, private=self.private)]

    @property
    def _turn(self) -> Turn:
        return turn_upright(self.draw.matrix, self.rotation)


def encode_image(
    pixels: np.ndarray, image: pikepdf.Object, samples: image_samples.Samples, *, alike: bool = True
) -> pikepdf.Pdf:
    """A PDF of one image that may take the place of `image`: a stencil for a stencil, its colour space where it can."""
    if samples.bits in QUANTIZED and pixels.ndim == 2 and pixels.dtype == np.uint8:
        step = 255 // (2**samples.bits - 1)
        pixels = ((pixels.astype(np.uint16) + step // 2) // step * step).astype(np.uint8)
    made = image_samples.encode(pixels, image, samples, alike=alike)
    single = image_samples.single_image(made)
    if image.get("/ImageMask", False):
        _make_stencil(single)
    elif samples.space is not None and pixels.ndim == samples.pixels.ndim and pixels.dtype != np.bool_:
        del single.ColorSpace
    elif samples.ink is not None and pixels.dtype == np.bool_:
        del single.ColorSpace  # the palette stays: black is its darker colour
        if samples.ink == 1:
            single.Decode = pikepdf.Array([1, 0])
    return made


def stored_bytes(image: pikepdf.Object) -> int:
    """The bytes that an image and its masks take in the file."""
    masks = [mask for key in ("/SMask", "/Mask") if isinstance(mask := image.get(key), pikepdf.Stream)]
    return sum(len(each.read_raw_bytes()) for each in (image, *masks))


def size_remark(changes: Sequence[Change]) -> str | None:
    """A remark where the new samples take much more room than the old ones took."""
    new = sum(len(image_samples.single_image(change.image).read_raw_bytes()) for change in changes)
    old = sum(change.before for change in changes)
    if new <= max(MUCH_LARGER * old, SMALL):
        return None
    return f"its picture takes {new / max(old, 1):.1f} times the bytes that it took"


def _make_stencil(image: pikepdf.Object) -> None:
    """Let a one-bit image, whose black is sample 0, paint where it is black."""
    del image.ColorSpace
    image.ImageMask = True


def _opacity(image: pikepdf.Object, name: str) -> np.ndarray | None:
    """The opacity that the masks of an image give its samples, float32 (H, W), or None without masks."""
    soft, mask = image.get("/SMask"), image.get("/Mask")
    width, height = image_samples.image_size(image, name)
    if int(image.get("/SMaskInData", 0)):
        raise UnsupportedPicture(f"{name} has an image whose JPEG 2000 data hold its mask, which is not known")
    if isinstance(soft, pikepdf.Stream):
        if soft.get("/Matte") is not None:
            raise UnsupportedPicture(f"{name} has an image that was blended with its mask, which is not known")
        levels = _grey(image_samples.decode(soft, name).pixels)
        return cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA)
    if isinstance(mask, pikepdf.Stream):
        hidden = image_samples.decode(mask, name).pixels  # a stencil: black where the image is painted
        return cv2.resize(1 - _grey(hidden), (width, height), interpolation=cv2.INTER_AREA)
    if isinstance(mask, pikepdf.Array):
        return 1 - _keyed(image, [int(each) for each in mask], name).astype(np.float32)
    return None


def _keyed(image: pikepdf.Object, ranges: Sequence[int], name: str) -> np.ndarray:
    """Where all samples lie in the ranges of a colour-key mask: bool (H, W)."""
    width, height = image_samples.image_size(image, name)
    components = len(ranges) // 2
    if components not in (1, 3):
        raise UnsupportedPicture(f"{name} has a colour-key mask of {components} colours, which is not known")
    with pikepdf.new() as pdf:
        raw = pdf.copy_foreign(image)
        raw.ColorSpace = pikepdf.Name.DeviceGray if components == 1 else pikepdf.Name.DeviceRGB
        if "/Decode" in raw:
            del raw.Decode
        samples = image_samples.decode(raw, name)
    most = 2 ** min(int(image.get("/BitsPerComponent", 8)), 8) - 1
    values = np.rint(samples.pixels.reshape(height, width, -1)[..., :components] / 255 * most)
    low, high = np.array(ranges[::2]), np.array(ranges[1::2])
    return ((values >= low) & (values <= high)).all(2)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Levels in [0, 1], float32 (H, W)."""
    levels = pixels if pixels.ndim == 2 else pixels.mean(2)
    return (levels / np.iinfo(pixels.dtype).max).astype(np.float32)


def _on_white(pixels: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    if opacity is None or opacity.min() >= 1:
        return pixels
    white: Any = np.iinfo(pixels.dtype).max
    share = opacity if pixels.ndim == 2 else opacity[..., None]
    return np.rint(white + (pixels.astype(np.float32) - white) * share).astype(pixels.dtype)
