"""Samples of PDF image objects: decodes them to pixels, and encodes pixels to the kind of stream they came from."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import img2pdf
import numpy as np
import pikepdf
import pypdfium2
from PIL import Image, JpegImagePlugin

from fastdiff.apps.docclean.pdf.page_tree import is_dictionary
from fastdiff.apps.images.image_document import check_size, reading
from fastdiff.apps.images.page import is_grey
from fastdiff.solvers.errors import UsageError

SAMPLES = ("/Width", "/Height", "/BitsPerComponent", "/ColorSpace", "/Decode", "/ImageMask", "/Filter", "/DecodeParms")
LOSSY = ("/DCTDecode", "/JPXDecode")
FAX = ("/CCITTFaxDecode", "/JBIG2Decode")
PLAIN = ("/FlateDecode", "/LZWDecode", "/RunLengthDecode", "/ASCII85Decode", "/ASCIIHexDecode")
ABBREVIATED = {
    "/DCT": "/DCTDecode",
    "/CCF": "/CCITTFaxDecode",
    "/Fl": "/FlateDecode",
    "/LZW": "/LZWDecode",
    "/RL": "/RunLengthDecode",
    "/A85": "/ASCII85Decode",
    "/AHx": "/ASCIIHexDecode",
}
GREYS, COLOURS = ("/DeviceGray", "/CalGray", "/G"), ("/DeviceRGB", "/CalRGB", "/RGB")
OTHER_QUALITY = 85  # of JPEGs that replace JPEG 2000, or a background that now holds text
DEEP = 16  # bits


@dataclass(frozen=True)
class Samples:
    """Decoded samples.

    `pixels` are uint8 or uint16, grey (H, W) or three channels (H, W, 3), in the image's own colour space if `space`
    holds it, else in device grey or RGB. `bits` is that of a sample in the file; `lossy` is True if the file stores
    samples with loss. `ink` is None, or for a palette of one bit the entry of its darker colour; that colour is black
    in `pixels`, the other one white.
    """

    pixels: np.ndarray
    space: Any
    bits: int
    lossy: bool
    ink: int | None = None


def image_size(image: pikepdf.Object, name: str) -> tuple[int, int]:
    """Return width and height of an image object. Raises UsageError if they are absent or beyond the limits."""
    try:
        width, height = int(image["/Width"]), int(image["/Height"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{name} has an image of no size") from None
    check_size(Path(name), width, height)
    return width, height


def decode(image: pikepdf.Object, name: str) -> Samples:
    """Return the samples of an image object without its masks; a stencil mask is black where it paints.

    Raises UsageError for damage, unknown filters and too many pixels; `name` is that of the file.
    """
    width, height = image_size(image, name)
    filters = filters_of(image)
    unknown = set(filters) - {*LOSSY, *FAX, *PLAIN}
    if unknown:
        raise UsageError(f"{name} has an image of the unknown filter {', '.join(sorted(unknown))[1:]}")
    stencil = bool(image.get("/ImageMask", False))
    bits = 1 if stencil or filters[-1:] in ([each] for each in FAX) else int(image.get("/BitsPerComponent", 8))
    if bits not in (1, 2, 4, 8, DEEP):
        raise UsageError(f"{name} has an image of {bits} bits a sample: 1, 2, 4, 8 and 16 are known")
    declared = pikepdf.Name.DeviceGray if stencil else image.get("/ColorSpace")
    space = _spaces(declared)[0]
    lossy = bool(set(filters) & set(LOSSY))
    if is_palette(declared):
        _check_palette(declared, name)
    with reading(Path(name)):
        _verify(image, filters, width, height, bits, declared, name)
        if bits == DEEP and space is not None and not lossy:
            pixels = _deep(image, width, height, _channels(space))
        else:
            pixels = _by_pdfium(image, stencil=stencil)
    if pixels.shape[:2] != (height, width):
        raise UsageError(f"{name} has an image whose data are of another size than it says")
    if declared is not None and bits == 1 and is_palette(declared) and int(declared[2]) == 1:
        first, second = _colours(image)
        ink = 0 if first.sum() <= second.sum() else 1
        paper = (pixels.reshape(height, width, -1) == (second if ink == 0 else first)).all(2)
        return Samples(np.where(paper, 255, 0).astype(np.uint8), None, bits, lossy, ink)
    if space is not None and _channels(space) == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    elif pixels.ndim == 3 and (space is None or _channels(space) == 1) and is_grey(pixels):
        pixels = np.ascontiguousarray(pixels[..., 0])
    if space is not None and _channels(space) != (1 if pixels.ndim == 2 else 3):
        space = None
    return Samples(pixels, space, bits, lossy)


def encode(pixels: np.ndarray, image: pikepdf.Object, samples: Samples, *, alike: bool = True) -> pikepdf.Pdf:
    """Return a PDF that only holds an image of the pixels (bool for one bit), encoded as `image` is, in device colours.

    JPEGs keep their quantisation tables and chroma subsampling, unless their content is no longer `alike`.
    """
    buffer = io.BytesIO()
    if pixels.dtype == np.bool_:
        Image.fromarray(pixels).save(buffer, format="TIFF", compression="group4")
    elif samples.lossy and pixels.dtype == np.uint8:
        _save_jpeg(Image.fromarray(pixels), buffer, image, alike=alike)
    elif pixels.dtype == np.uint16 and pixels.ndim == 3:
        buffer.write(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    else:
        Image.fromarray(pixels).save(buffer, format="PNG")
    return pikepdf.open(io.BytesIO(img2pdf.convert(buffer.getvalue(), layout_fun=lambda w, h, dpi: (72,) * 4)))


def single_image(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """Return the image of a PDF that `encode` made."""
    (image,) = pdf.pages[0].obj.Resources.XObject.values()
    return image


def filters_of(image: pikepdf.Object) -> list[str]:
    """Return full names of an image's filters, in the order of decoding."""
    found = image.get("/Filter", image.get("/F"))
    if found is None:
        return []
    names = [str(each) for each in found] if isinstance(found, pikepdf.Array) else [str(found)]
    return [ABBREVIATED.get(each, each) for each in names]


def direct(value: Any) -> Any:
    """Return a copy of names, numbers, and arrays and dictionaries of them that belongs to no file."""
    if isinstance(value, pikepdf.Array):
        return pikepdf.Array([direct(each) for each in value])
    if is_dictionary(value):
        return pikepdf.Dictionary({name: direct(each) for name, each in value.items()})
    return value


def _spaces(declared: Any) -> tuple[Any, Any]:
    """Return the colour space to write samples in (or None), and the one to read them in.

    Raw samples of calibrated and ICC spaces are read as device colours: no conversion touches them. Palettes are looked
    up in the same way.
    """
    if is_palette(declared):
        base, read_base = _spaces(declared[1]) if len(declared) == 4 else (None, None)
        if base is None:
            return None, declared
        return base, pikepdf.Array([pikepdf.Name.Indexed, read_base, declared[2], declared[3]])
    channels = _channels(declared)
    if channels == 1:
        return declared, pikepdf.Name.DeviceGray
    if channels == 3:
        return declared, pikepdf.Name.DeviceRGB
    return None, declared


def _colours(image: pikepdf.Object) -> tuple[np.ndarray, np.ndarray]:
    """Return the two colours of a palette of one bit, as pdfium shows them, uint8 (1,) or (3,)."""
    with pikepdf.new() as pdf:
        both = pdf.make_stream(bytes([0b01000000]))
        both.Type, both.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        both.Width, both.Height, both.BitsPerComponent = 2, 1, 1
        both.ColorSpace = pdf.copy_foreign(image).ColorSpace
        shown = _by_pdfium(both, stencil=False).reshape(2, -1)
    return shown[0], shown[1]


def is_palette(space: Any) -> bool:
    """True if a colour space is a palette."""
    return isinstance(space, pikepdf.Array) and len(space) > 0 and str(space[0]) in ("/Indexed", "/I")


def _check_palette(palette: Any, name: str) -> None:
    """Raise UsageError for a palette with fewer entries than declared: viewers disagree on its colours."""
    table = palette[3] if len(palette) == 4 else b""
    held = len(_data(table)) if isinstance(table, pikepdf.Stream) else len(bytes(table))
    if held < (int(palette[2]) + 1) * _components(palette[1]):
        raise UsageError(f"{name} has an image whose palette is cut short")


def _channels(space: Any) -> int:
    """Return 1 or 3 for grey and RGB spaces, 0 for others."""
    named = str(space[0]) if isinstance(space, pikepdf.Array) and len(space) else str(space)
    if named in GREYS:
        return 1
    if named in COLOURS:
        return 3
    if named == "/ICCBased" and len(space) > 1 and isinstance(space[1], pikepdf.Stream):
        components = int(space[1].get("/N", 0))
        lab = space[1].get("/Alternate")
        is_lab = isinstance(lab, pikepdf.Array) and len(lab) > 0 and lab[0] == pikepdf.Name.Lab
        return components if components in (1, 3) and not is_lab else 0
    return 0


def _verify(
    image: pikepdf.Object, filters: list[str], width: int, height: int, bits: int, declared: Any, name: str
) -> None:
    """Raise UsageError for data that are damaged or cut short; fax data report damage on decoding, or never."""
    try:
        if set(filters) <= set(PLAIN):
            components = 1 if image.get("/ImageMask", False) else _components(declared)
            if len(_data(image)) < (width * components * bits + 7) // 8 * height:
                raise UsageError(f"{name} has an image whose data are cut short")
        elif set(filters) & set(LOSSY):
            data = _coded(image, filters)
            with Image.open(io.BytesIO(data), formats=("JPEG", "JPEG2000")) as coded:
                check_size(Path(name), *coded.size)
                coded.load()
    except pikepdf.PdfError:
        raise UsageError(f"{name} has a damaged image") from None


def _components(space: Any) -> int:
    named = str(space[0]) if isinstance(space, pikepdf.Array) and len(space) else str(space)
    if named == "/ICCBased":
        return int(space[1].get("/N", 1))
    if named == "/DeviceN":
        return len(space[1])
    return 4 if named in ("/DeviceCMYK", "/CMYK") else 3 if named in (*COLOURS, "/Lab") else 1


def _coded(image: pikepdf.Object, filters: list[str]) -> bytes:
    """Return the JPEG or JPEG 2000 file of an image, unwrapped from other filters."""
    if len(filters) == 1:
        return image.read_raw_bytes()
    with pikepdf.new() as pdf:
        outer = pdf.make_stream(image.read_raw_bytes())
        parameters = image.get("/DecodeParms")
        outer.Filter = pikepdf.Array([pikepdf.Name(each) for each in filters[:-1]])
        if isinstance(parameters, pikepdf.Array):
            outer.DecodeParms = direct(pikepdf.Array(list(parameters)[:-1]))
        return _data(outer)


def _data(stream: pikepdf.Object) -> bytes:
    """Return the bytes of a stream with lossless filters."""
    return stream.read_bytes(pikepdf.StreamDecodeLevel.specialized)


def _deep(image: pikepdf.Object, width: int, height: int, channels: int) -> np.ndarray:
    values = np.frombuffer(_data(image), ">u2", width * height * channels).astype(np.uint16)
    pixels = values.reshape((height, width) if channels == 1 else (height, width, 3))
    limits = [float(each) for each in image.get("/Decode", [])]
    return 65535 - pixels if limits[:2] == [1, 0] else pixels


def _by_pdfium(image: pikepdf.Object, *, stencil: bool) -> np.ndarray:
    with pikepdf.new() as pdf:
        copy = pdf.copy_foreign(image)
        for name in ("/SMask", "/Mask", "/ImageMask", "/OC", "/Alternates", "/Metadata"):
            if name in copy:
                del copy[name]
        if stencil:
            copy.ColorSpace, copy.BitsPerComponent = pikepdf.Name.DeviceGray, 1
        elif "/ColorSpace" in copy:
            copy.ColorSpace = _spaces(copy.ColorSpace)[1]
        page = pdf.add_blank_page(page_size=(72, 72))
        page.obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=copy))
        page.obj.Contents = pdf.make_stream(b"q 72 0 0 72 0 0 cm /I Do Q")
        file = io.BytesIO()
        pdf.save(file, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.none)
    document = pypdfium2.PdfDocument(file.getvalue())
    try:
        (drawn,) = document[0].get_objects()
        pixels = drawn.get_bitmap().to_numpy()
        if pixels.ndim == 3:
            pixels = pixels[..., 2::-1] if pixels.shape[2] > 1 else pixels[..., 0]
        return np.ascontiguousarray(pixels)
    except (pypdfium2.PdfiumError, ValueError):
        raise UsageError("an image is damaged") from None
    finally:
        document.close()


def _save_jpeg(picture: Image.Image, buffer: io.BytesIO, image: pikepdf.Object, *, alike: bool) -> None:
    filters = filters_of(image)
    if filters[-1:] != ["/DCTDecode"] or not alike:
        picture.save(buffer, format="JPEG", quality=OTHER_QUALITY, subsampling=0)
        return
    with Image.open(io.BytesIO(_coded(image, filters)), formats=("JPEG",)) as source:
        assert isinstance(source, JpegImagePlugin.JpegImageFile)
        tables = list(source.quantization.values())[: 1 if picture.mode == "L" else 2]
        sampling = JpegImagePlugin.get_sampling(source)
    if picture.mode == "RGB" and sampling in (0, 1, 2):
        picture.save(buffer, format="JPEG", qtables=tables, subsampling=sampling)
    else:
        picture.save(buffer, format="JPEG", qtables=tables)
