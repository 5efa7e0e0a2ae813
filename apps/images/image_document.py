"""Image files as documents: one page, or in a TIFF any number; the content decides about the kind, not the name."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError, features

from fastdiff.apps.images import jp2, metadata, png, tiff
from fastdiff.apps.images.page import BITS_PER_SAMPLE, Page, from_image, orientation, upright
from fastdiff.apps.images.tiff import LAYERS, SUB_IFDS, Directory
from fastdiff.solvers.errors import MissingError, UsageError

KINDS = {
    "PNG": "png",
    "JPEG": "jpg",
    "MPO": "jpg",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
    "JPEG2000": "jp2",
    "PPM": "ppm",
    "GIF": "gif",
}  # by names of PIL
NETPBM = {b"P1": "pbm", b"P4": "pbm", b"P2": "pgm", b"P5": "pgm"}  # the others are ppm
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
DECODING_ERRORS = (
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    struct.error,
)  # of the libraries, on damaged files
OS2_HEADER = 12  # bytes of the second header of a BMP of OS/2
HEAD = 64  # bytes that identify the kind
ALBUMS = ("MPO", "HEIF", None)  # formats with pictures beside the main one
MOST_PIXELS = 178_956_970  # of one page: Pillow takes larger images for decompression bombs
MOST_PAGES = 10_000


@contextmanager
def open_images(path: Path, *, first_frame: bool = False) -> Iterator["ImageDocument"]:
    """Open an image file.

    Every directory of a TIFF is a page, except thumbnails and masks. With `first_frame`, an animation is a page of its
    first frame. Raises as `open_document`.
    """
    with reading(path), path.open("rb") as file:
        head = file.read(HEAD)
        if not head:
            raise UsageError(f"{path.name} is empty")
        image, count = _open(path, head)
    with image, path.open("rb") as file:
        if image.format == "TIFF":
            with reading(path):
                document = _tiff_document(path, image, file)
            yield document
            return
        if image.format not in ALBUMS and count > 1 and not first_frame:
            raise UsageError(f"{path.name} is an animation of {count} frames: several pages are read from TIFF and PDF")
        first = "first picture" if image.format in ALBUMS else "first frame"
        left_out = f"its {first} of {count} was taken" if count > 1 else None
        yield ImageDocument(path, image, _kind(path, image, head), left_out=left_out)


@dataclass(frozen=True)
class ImageDocument:
    """A `Document` over an open PIL image.

    `frames` are the numbers of the pages among all directories of a TIFF; `reader` and `offsets` give these
    directories. `left_out` names other content of the file.
    """

    path: Path
    image: Image.Image
    kind: str
    frames: tuple[int, ...] = (0,)
    reader: tiff.Reader | None = None
    offsets: tuple[int, ...] = ()
    left_out: str | None = None

    @property
    def count(self) -> int:
        return len(self.frames)

    def untouched(self, index: int) -> str | None:
        return None

    def megapixels(self, index: int) -> float:
        with reading(self.path):
            self._seek(index)
        return self.image.width * self.image.height / 1e6

    def page(self, index: int) -> Page:
        with reading(self.path):
            self._seek(index)
            check_size(self.path, *self.image.size)
            about = self.directory(index)
            found = metadata.read(self.image, self.path, about)
            page = from_image(self.image, self._decoded(index), found, self._bits(about))
        notes = (page.note, self.left_out, _left_out(about))
        return replace(page, note="; ".join(filter(None, notes)) or None)

    def directory(self, index: int) -> Directory | None:
        """Return the directory of page `index` of a TIFF; None for other kinds."""
        return self.reader.directory(self.offsets[index]) if self.reader else None

    def _seek(self, index: int) -> None:
        if self.reader:
            self.image.seek(self.frames[index])

    def _decoded(self, index: int) -> np.ndarray | None:
        """Return the upright pixels by another reader, if PIL would cut 16-bit colour to 8 bits or garble a TIFF; else
        None.
        """
        codec, _, offset, arguments = (*getattr(self.image, "tile", ()), ("", None, 0, ""))[0]
        raw, *rest = (arguments,) if isinstance(arguments, str) else arguments
        if codec == "ppm" and raw == "RGB" and rest[0] > 255:
            return self._deep_ppm(offset, rest[0])
        if self.image.format == "JPEG2000":
            bits = jp2.depth(self.path) if self.image.mode in ("RGB", "RGBA") else 0
            return self._by_opencv(index) if bits > 8 else None
        if self.image.format == "BMP" and self.image.mode == "1":  # PIL takes a table of two colours for one bit
            return self._by_opencv(index) if self._bits(None) > 1 else None
        lying = self.image.info.get("compression") == "raw" and orientation(self.image) >= 5
        return self._by_opencv(index) if lying or str(raw).startswith(("RGB;16", "RGBA;16")) else None

    def _by_opencv(self, index: int) -> np.ndarray:
        read, frames = cv2.imreadmulti(str(self.path), start=self.frames[index], count=1, flags=cv2.IMREAD_UNCHANGED)
        if not read:
            raise UsageError(f"{self.path.name} is damaged or cut short")
        pixels = frames[0]
        if pixels.ndim == 3:
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # OpenCV keeps blue first
        if self.reader is None:  # OpenCV has applied the orientation of a TIFF
            pixels = upright(pixels, orientation(self.image))
        return np.ascontiguousarray(pixels)

    def _bits(self, directory: Directory | None) -> int:
        """Return the bits of a channel, or of an index into the palette, in a TIFF, PNG or BMP; 8 for other kinds."""
        if directory is not None:
            return directory.integer(BITS_PER_SAMPLE, 1)
        with self.path.open("rb") as file:
            head = file.read(HEAD)
        if self.image.format == "PNG":
            return head[24]
        if self.image.format == "BMP":
            return head[24 if head[14] == OS2_HEADER else 28]
        return 8

    def _deep_ppm(self, offset: int, most: int) -> np.ndarray:
        width, height = self.image.size
        values = np.fromfile(self.path, ">u2", width * height * 3, offset=offset)
        if len(values) < width * height * 3:
            raise UsageError(f"{self.path.name} is damaged or cut short")
        scaled = np.rint(values * (65_535 / most)).clip(0, 65_535)
        return scaled.astype(np.uint16).reshape(height, width, 3)


def check_size(path: Path, width: int, height: int) -> None:
    """Raise UsageError for a page of `path` with no pixels or more than MOST_PIXELS."""
    if not 0 < width * height <= MOST_PIXELS:
        raise UsageError(f"{path.name} has a page of {width} x {height} pixels: 1 to {MOST_PIXELS // 10**6} million")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of image and PDF readers inside the block into one sentence about `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked here; odd metadata does not concern the user
            yield
    except (UsageError, MissingError):
        raise
    except UnidentifiedImageError:
        if _begins_as_pdf(path):
            raise UsageError(f"{path.name} is a PDF: give it the suffix .pdf") from None
        known = ", ".join(sorted({*KINDS.values(), "heic"}))
        raise UsageError(f"{path.name} is not an image of a known kind: {known}") from None
    except Image.DecompressionBombError:
        raise UsageError(f"{path.name} has a page of more than {MOST_PIXELS // 10**6} million pixels") from None
    except OSError as error:
        if error.strerror:
            raise UsageError(f"{path.name or path} cannot be read: {error.strerror}") from error
        raise _damaged(path, error) from error
    except (*DECODING_ERRORS, cv2.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> UsageError:
    return UsageError(f"{path.name} is damaged or cut short: {' '.join(str(error).split())}")


def _open(path: Path, head: bytes) -> tuple[Image.Image, int]:
    """Return the image, and the number of images in the file."""
    formats = [name for name in KINDS if name != "MPO"]
    if head[4:8] == b"ftyp":
        box = head[8 : int.from_bytes(head[:4], "big")]
        brands = {box[place : place + 4] for place in range(0, len(box), 4)}
        if brands.isdisjoint(AVIF_BRANDS) and not brands.isdisjoint(HEIF_BRANDS):
            return _open_heif(path)
        if not features.check("avif"):
            raise MissingError(f"{path.name} is AVIF: install a Pillow that reads it")
        formats = ["AVIF"]
    chunks = png.read(path) if head.startswith(png.SIGNATURE) else None
    with reading(path):
        source = png.without(path, chunks) if chunks and chunks.broken else path
        image = Image.open(source, formats=formats)
        if image.format == "JPEG2000" and (profile := jp2.read(path).icc):  # PIL does not read it
            image.info["icc_profile"] = profile
        return image, 1 if image.format == "TIFF" else getattr(image, "n_frames", 1)


def _open_heif(path: Path) -> tuple[Image.Image, int]:
    try:
        import pillow_heif
    except ImportError:
        raise MissingError(f"{path.name} is HEIC: pip install 'fastdiff-toolkit[heif]' to read it") from None
    with reading(path):
        heif = pillow_heif.open_heif(path)
        check_size(path, *heif.size)
        return heif.to_pillow(), len(heif)


def _kind(path: Path, image: Image.Image, head: bytes) -> str:
    if image.format == "PPM":
        return "pnm" if path.suffix.lower() == ".pnm" else NETPBM.get(head[:2], "ppm")
    if image.format == "JPEG2000" and not head.startswith(jp2.SIGNATURE):
        return "j2k"
    return KINDS.get(image.format or "", "heic")


def _tiff_document(path: Path, image: Image.Image, file: BinaryIO) -> ImageDocument:
    reader = tiff.open_reader(file)
    offsets = reader.offsets(MOST_PAGES)
    if len(offsets) > MOST_PAGES:
        raise UsageError(f"{path.name} has more than {MOST_PAGES} pages")
    frames = [frame for frame, offset in enumerate(offsets) if reader.is_page(offset)]
    others = len(offsets) - len(frames)
    if not frames:  # the file holds only a thumbnail
        frames, others = list(range(len(offsets))), 0
    said = f"thumbnails and masks in the file were left out: {others}" if others else None
    pages = tuple(offsets[frame] for frame in frames)
    return ImageDocument(path, image, "tiff", tuple(frames), reader, pages, said)


def _left_out(directory: Directory | None) -> str | None:
    """Return a clause on the content of a directory, beside its picture, that a cleaned page loses."""
    if directory is None:
        return None
    there = {"reduced images": SUB_IFDS in directory.children, "Photoshop layers": LAYERS in directory.fields}
    names = [name for name, is_there in there.items() if is_there]
    return f"its {' and '.join(names)} were left out" if names else None


def _begins_as_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return b"%PDF-" in file.read(1024)
