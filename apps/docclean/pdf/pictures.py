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
SMALL = 4096  # bytes that do not matter
QUANTIZED = (2, 4)  # bits of grey whose levels are kept


@dataclass(frozen=True)
class Change:
    """New samples of the images drawn as `draws` (indices into `Content.draws`), as a PDF of one image.

    An image without a colour space keeps the old one (of a palette, its base). `mask` is a PDF of a stencil mask that
    replaces a colour-key mask; `opaque` removes all masks. `private` draws an image object of its own: the old one is
    shown elsewhere too, or is an inline image. `before` is the size of the old samples in bytes.
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
        """Return its upright pixels. Raises UsageError if they are damaged."""
        ...

    def changes(self, cleaned: np.ndarray) -> list[Change]:
        """Return the changes that put cleaned pixels, of the size and kind of `page` or bool, back in their place."""
        ...


@dataclass(frozen=True)
class Turn:
    """A lossless turn of pixels to upright: swaps the axes, then reverses rows and columns."""

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
    """Return the turn, to the nearest right angle, of an image drawn with `matrix` on a page rotated clockwise."""
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
    """Return a PDF of one image that may replace `image`.

    A stencil stays a stencil; the colour space is that of `image` if possible.
    """
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
    """Return the size of an image with its masks in the file, in bytes."""
    masks = [mask for key in ("/SMask", "/Mask") if isinstance(mask := image.get(key), pikepdf.Stream)]
    return sum(len(each.read_raw_bytes()) for each in (image, *masks))


def size_remark(changes: Sequence[Change]) -> str | None:
    """Return a remark if the new samples take much more room than the old ones."""
    new = sum(len(image_samples.single_image(change.image).read_raw_bytes()) for change in changes)
    old = sum(change.before for change in changes)
    if new <= max(MUCH_LARGER * old, SMALL):
        return None
    return f"its picture takes {new / max(old, 1):.1f} times the bytes that it took"


def _make_stencil(image: pikepdf.Object) -> None:
    """Make a stencil of a one-bit image: it paints where the image is black (sample 0)."""
    del image.ColorSpace
    image.ImageMask = True


def _opacity(image: pikepdf.Object, name: str) -> np.ndarray | None:
    """Return the opacity that the masks of an image give its samples, float32 (H, W), or None without masks."""
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
    """Return the mask, bool (H, W), of pixels whose samples all lie in the ranges of a colour-key mask."""
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
    inside: np.ndarray = ((values >= low) & (values <= high)).all(2)
    return inside


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Return levels in [0, 1], float32 (H, W)."""
    levels = pixels if pixels.ndim == 2 else pixels.mean(2)
    return (levels / np.iinfo(pixels.dtype).max).astype(np.float32)


def _on_white(pixels: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    if opacity is None or opacity.min() >= 1:
        return pixels
    white: Any = np.iinfo(pixels.dtype).max
    share = opacity if pixels.ndim == 2 else opacity[..., None]
    shown: np.ndarray = np.rint(white + (pixels.astype(np.float32) - white) * share).astype(pixels.dtype)
    return shown
