"""Image files as documents: PNG, JPEG, WebP, BMP, HEIC, and TIFF with any number of pages."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from fastdiff.apps.page import Page, from_image
from fastdiff.solvers.errors import MissingError, UsageError

KINDS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff"}
MOST_PIXELS = 178_956_970  # of one page: where Pillow itself takes an image for a decompression bomb
MOST_PAGES = 10_000


@contextmanager
def open_images(path: Path) -> Iterator["ImageDocument"]:
    """Open an image file; every frame of a TIFF is a page. Raises as `open_document`."""
    with reading(path), path.open("rb") as file:
        if not file.read(1):
            raise UsageError(f"{path.name} is empty")
    image = _open_heif(path) if path.suffix.lower() in (".heic", ".heif") else _open(path)
    with image:
        count = getattr(image, "n_frames", 1)
        if image.format not in ("TIFF", "MPO") and count > 1:
            raise UsageError(f"{path.name} is an animation of {count} frames: several pages are read from TIFF and PDF")
        if count > MOST_PAGES:
            raise UsageError(f"{path.name} has {count} pages: at most {MOST_PAGES}")
        yield ImageDocument(path, image, count if image.format == "TIFF" else 1)


@dataclass(frozen=True)
class ImageDocument:
    """A `Document` over an open PIL image."""

    path: Path
    image: Image.Image
    count: int

    @property
    def kind(self) -> str:
        return KINDS.get(self.image.format or "", "heic")

    def untouched(self, index: int) -> str | None:
        return None

    def megapixels(self, index: int) -> float:
        with reading(self.path):
            self.image.seek(index)
        return self.image.width * self.image.height / 1e6

    def page(self, index: int) -> Page:
        with reading(self.path):
            if self.count > 1:
                self.image.seek(index)
            check_size(self.path, *self.image.size)
            return from_image(self.image, self._decoded(index) if self._is_beyond_pil() else None)

    def _is_beyond_pil(self) -> bool:
        """Whether PIL would cut 16-bit colour to 8 bits, or garble an uncompressed TIFF that lies on its side."""
        tile = getattr(self.image, "tile", None)
        raw = tile[0].args if tile else ""
        deep = str(raw if isinstance(raw, str) else raw[0]).startswith(("RGB;16", "RGBA;16"))
        return deep or (self.image.info.get("compression") == "raw" and self._orientation >= 5)

    def _decoded(self, index: int) -> np.ndarray:
        read, frames = cv2.imreadmulti(str(self.path), start=index, count=1, flags=cv2.IMREAD_UNCHANGED)
        if not read:
            raise UsageError(f"{self.path.name} is damaged or cut short")
        pixels = frames[0]
        if pixels.ndim == 3:
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # OpenCV keeps blue first
        if self.kind != "tiff":  # whose orientation OpenCV has applied
            pixels = upright(pixels, self._orientation)
        return np.ascontiguousarray(pixels)

    @property
    def _orientation(self) -> int:
        return self.image.getexif().get(ExifTags.Base.Orientation, 1)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8, to pixels (H, W, ...) (Exif 2.32, tag 274); others leave them as they are."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def check_size(path: Path, width: int, height: int) -> None:
    """Raise UsageError for a page of `path` with no pixels or more than MOST_PIXELS."""
    if not 0 < width * height <= MOST_PIXELS:
        raise UsageError(f"{path.name} has a page of {width} x {height} pixels: 1 to {MOST_PIXELS // 10**6} million")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of image and PDF readers inside the block into one sentence about `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked here; odd metadata is no news to the user
            yield
    except (UsageError, MissingError):
        raise
    except UnidentifiedImageError:
        known = ", ".join(sorted(set(KINDS.values())))
        raise UsageError(f"{path.name} is not an image of a known kind: {known}") from None
    except Image.DecompressionBombError:
        raise UsageError(f"{path.name} has a page of more than {MOST_PIXELS // 10**6} million pixels") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}" if error.strerror else f"is damaged or cut short: {error}"
        raise UsageError(f"{path.name} {what}") from error
    except (ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, struct.error, cv2.error) as error:
        raise UsageError(f"{path.name} is damaged or cut short: {error}") from error


def _open(path: Path) -> Image.Image:
    with reading(path):
        return Image.open(path, formats=[name for name in KINDS if name != "MPO"])


def _open_heif(path: Path) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise MissingError(f"{path.name} is HEIC: pip install 'fastdiff-toolkit[heif]' to read it") from None
    with reading(path):
        heif = pillow_heif.open_heif(path)
        check_size(path, *heif.size)
        return heif.to_pillow()
