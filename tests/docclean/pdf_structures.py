"""PDFs of many structures, each a small scan or no scan, made with pikepdf."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
from pages import text_page
from pikepdf import Array, Dictionary, Name
from PIL import Image, TiffImagePlugin

WIDTH, HEIGHT = 245, 346  # points, of most pages
SHAPE = (480, 340)  # pixels of most scans: 100 dpi
FULL = (WIDTH, 0, 0, HEIGHT, 0, 0)
CLEANED, KEPT, FAILED = ("cleaned",), ("kept",), ("failed",)


@dataclass(frozen=True)
class Structure:
    """A way to build a PDF, and the status that each of its pages ought to get."""

    build: Callable[[pikepdf.Pdf], Any]
    statuses: tuple[str, ...]
    save: dict[str, Any]


STRUCTURES: dict[str, Structure] = {}


def structure(*statuses: str, **save: Any) -> Callable[[Callable[[pikepdf.Pdf], Any]], Callable[[pikepdf.Pdf], Any]]:
    """Register a builder under its name; `save` are arguments of saving."""

    def register(build: Callable[[pikepdf.Pdf], Any]) -> Callable[[pikepdf.Pdf], Any]:
        STRUCTURES[build.__name__.replace("_", "-")] = Structure(build, statuses or CLEANED, save)
        return build

    return register


def write(name: str, folder: Path) -> Path:
    """Build the structure of this name in a folder; a result of the builder edits the file's bytes."""
    made, path = STRUCTURES[name], folder / f"{name}.pdf"
    with pikepdf.new() as pdf:
        edit = made.build(pdf)
        pdf.save(path, **{"compress_streams": False, **made.save})
    if edit is not None:
        path.write_bytes(edit(path.read_bytes()))
    return path


def grey_scan(seed: int = 0) -> np.ndarray:
    """Text on stained, unevenly lit and noisy paper: uint8 (480, 340)."""
    rng = np.random.default_rng(seed)
    text = np.concatenate([text_page(20), text_page(20)])[: SHAPE[0], : SHAPE[1]].astype(float) / 255
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    paper = 225 - 0.1 * columns - 25 * np.exp(-((rows - 200) ** 2 + (columns - 120 - 20 * seed) ** 2) / 4000)
    return np.clip(30 + (paper - 30) * text + rng.normal(0, 5, SHAPE), 0, 255).astype(np.uint8)


GREY = grey_scan()
COLOUR = np.stack([GREY, np.clip(GREY * 0.95, 0, 255), np.clip(GREY * 0.8, 0, 255)], 2).astype(np.uint8)
SPOTS = np.random.default_rng(5).random(SHAPE) > 0.99
BITS = (GREY > 110) & ~SPOTS


def image(pdf: pikepdf.Pdf, pixels: np.ndarray, **entries: Any) -> pikepdf.Object:
    """An image object of bool (1 bit), uint8 or uint16 samples, compressed without loss."""
    bits = {"bool": 1, "uint8": 8, "uint16": 16}[str(pixels.dtype)]
    data = np.packbits(pixels, axis=1) if bits == 1 else pixels.astype(">u2") if bits == 16 else pixels
    made = pdf.make_stream(zlib.compress(data.tobytes()))
    made.Type, made.Subtype, made.Filter = Name.XObject, Name.Image, Name.FlateDecode
    made.Height, made.Width, made.BitsPerComponent = *pixels.shape[:2], bits
    made.ColorSpace = Name.DeviceGray if pixels.ndim == 2 else Name.DeviceRGB
    for name, value in entries.items():
        made[f"/{name}"] = value
    return made


def coded(pdf: pikepdf.Pdf, pixels: np.ndarray, kind: str, mode: str | None = None, **settings: Any) -> pikepdf.Object:
    """An image object of JPEG or JPEG 2000 data."""
    buffer, picture = io.BytesIO(), Image.fromarray(pixels)
    picture = picture.convert(mode) if mode else picture
    picture.save(buffer, format=kind, **settings)
    made = pdf.make_stream(buffer.getvalue())
    made.Type, made.Subtype = Name.XObject, Name.Image
    made.Filter = Name.DCTDecode if kind == "JPEG" else Name.JPXDecode
    made.Height, made.Width, made.BitsPerComponent = *pixels.shape[:2], 8
    made.ColorSpace = {"L": Name.DeviceGray, "RGB": Name.DeviceRGB, "CMYK": Name.DeviceCMYK}[picture.mode]
    return made


def fax(pdf: pikepdf.Pdf, bits: np.ndarray) -> pikepdf.Object:
    """An image object of CCITT group 4 data."""
    buffer = io.BytesIO()
    Image.fromarray(bits).save(buffer, format="TIFF", compression="group4", strip_size=2**24)
    with Image.open(buffer) as tiff:
        assert isinstance(tiff, TiffImagePlugin.TiffImageFile)
        start, length = tiff.tag_v2[273][0], tiff.tag_v2[279][0]
        black_is_1 = tiff.tag_v2[262] == 0
    made = image(pdf, bits)
    columns, rows = bits.shape[1], bits.shape[0]
    parameters = Dictionary(K=-1, Columns=columns, Rows=rows, BlackIs1=False)
    made.write(buffer.getvalue()[start : start + length], filter=Name.CCITTFaxDecode, decode_parms=parameters)
    made.Decode = Array([0, 1] if black_is_1 else [1, 0])
    return made


def draw(name: str = "Im", matrix: tuple[float, ...] = FULL) -> str:
    return f"q {' '.join(f'{number:g}' for number in matrix)} cm /{name} Do Q\n"


def text(lines: str, at: str = "20 300", size: float = 8, mode: int = 0) -> str:
    """One line of visible or hidden text."""
    return f"BT /F {size} Tf {mode} Tr {at} Td ({lines}) Tj ET\n"


def page(
    pdf: pikepdf.Pdf, content: str | bytes, images: dict[str, pikepdf.Object] | None = None, **entries: Any
) -> pikepdf.Page:
    """Add a page; entries of None are left out."""
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)
    resources = Dictionary(Font=Dictionary(F=font), XObject=Dictionary(images or {}))
    made = Dictionary(Type=Name.Page, MediaBox=Array([0, 0, WIDTH, HEIGHT]), Resources=resources)
    made.Contents = pdf.make_stream(content if isinstance(content, bytes) else content.encode())
    for name, value in entries.items():
        if value is None:
            del made[f"/{name}"]
        else:
            made[f"/{name}"] = value
    pdf.pages.append(pikepdf.Page(pdf.make_indirect(made)))
    return pdf.pages[-1]


def scan(pdf: pikepdf.Pdf, pixels: np.ndarray = GREY, extra: str = "", **entries: Any) -> pikepdf.Page:
    """Add a page that one image fills."""
    return page(pdf, draw() + extra, {"/Im": image(pdf, pixels)}, **entries)


def boxed(name: str, content: str = draw(), statuses: tuple[str, ...] = CLEANED, **entries: Any) -> None:
    """Register a scan with these entries of its page."""

    def build(pdf: pikepdf.Pdf) -> None:
        page(pdf, content, {"/Im": image(pdf, GREY)}, **entries)

    STRUCTURES[name] = Structure(build, statuses, {})


boxed("plain")
boxed("box-reversed", MediaBox=Array([WIDTH, HEIGHT, 0, 0]))
boxed("box-offset", draw(matrix=(WIDTH, 0, 0, HEIGHT, 100, 50)), MediaBox=Array([100, 50, 100 + WIDTH, 50 + HEIGHT]))
boxed("box-negative", draw(matrix=(WIDTH, 0, 0, HEIGHT, -90, -40)), MediaBox=Array([-90, -40, WIDTH - 90, HEIGHT - 40]))
boxed("box-a3", draw(matrix=(842, 0, 0, 1191, 0, 0)), MediaBox=Array([0, 0, 842, 1191]))
boxed("crop-larger", CropBox=Array([-50, -50, 400, 500]))
boxed("crop-smaller", CropBox=Array([20, 30, 200, 320]))
boxed("crop-off-page", CropBox=Array([900, 900, 1000, 1000]))
boxed("crop-reversed", CropBox=Array([200, 320, 20, 30]))
for degrees in (90, 180, 270, 450, -90, 45):
    boxed(f"rotate-{degrees}", Rotate=degrees)
boxed("rotate-name", Rotate=Name.x)
boxed("user-unit", UserUnit=2)
boxed("crop-rotated", Rotate=90, CropBox=Array([20, 30, 200, 320]))
boxed("matrix-90", draw(matrix=(0, HEIGHT, -WIDTH, 0, WIDTH, 0)))
boxed("matrix-180", draw(matrix=(-WIDTH, 0, 0, -HEIGHT, WIDTH, HEIGHT)))
boxed("matrix-flip", draw(matrix=(WIDTH, 0, 0, -HEIGHT, 0, HEIGHT)))
boxed("matrix-and-rotation", draw(matrix=(0, HEIGHT, -WIDTH, 0, WIDTH, 0)), Rotate=90)
boxed("skew", draw(matrix=(WIDTH * 0.9, 4, -6, HEIGHT * 0.9, 12, 10)))
boxed("twice-in-a-page", draw(matrix=(110, 0, 0, 155, 5, 180)) + draw(matrix=(110, 0, 0, 155, 130, 10)))
boxed("white-below", f"1 g 0 0 {WIDTH} {HEIGHT} re f 0 g " + draw())
boxed("stamped", draw() + text("Filed 4 May, case 12-345", "60 4", 5))


@structure()
def inherited(pdf: pikepdf.Pdf) -> None:
    made = scan(pdf)
    for name in ("/MediaBox", "/Resources"):
        pdf.Root.Pages[name] = made.obj[name]
        del made.obj[name]
    pdf.Root.Pages.Rotate = 90


@structure()
def nested_tree(pdf: pikepdf.Pdf) -> None:
    made = scan(pdf)
    node = Dictionary(Type=Name.Pages, Count=1, Kids=Array([made.obj]), Parent=pdf.Root.Pages)
    node.CropBox = Array([10, 10, 200, 300])
    pdf.Root.Pages.Kids = Array([pdf.make_indirect(node)])
    made.obj.Parent = pdf.Root.Pages.Kids[0]


def pieces(pdf: pikepdf.Pdf, rows: int, columns: int, pixels: np.ndarray) -> tuple[str, dict[str, pikepdf.Object]]:
    """The scan in equal pieces, each an image."""
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    content, images = "", {}
    for row in range(rows):
        for column in range(columns):
            piece = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
            images[f"/P{row}-{column}"] = image(pdf, np.ascontiguousarray(piece))
            across, up = WIDTH / columns, HEIGHT / rows
            at = (across, 0, 0, up, column * across, HEIGHT - (row + 1) * up)
            content += draw(f"P{row}-{column}", at)
    return content, images


@structure()
def strips(pdf: pikepdf.Pdf) -> None:
    page(pdf, *pieces(pdf, 60, 1, GREY))


@structure()
def strips_one_bit(pdf: pikepdf.Pdf) -> None:
    page(pdf, *pieces(pdf, 10, 1, BITS))


@structure()
def tiles(pdf: pikepdf.Pdf) -> None:
    content, images = pieces(pdf, 4, 4, COLOUR)
    page(pdf, text("Words of the page", mode=3) + content, images, Rotate=270)


@structure()
def tiles_shared(pdf: pikepdf.Pdf) -> None:
    content, images = pieces(pdf, 4, 2, GREY)
    images["/P3-0"] = images["/P0-0"]
    page(pdf, content, images)


@structure()
def twice_side_by_side(pdf: pikepdf.Pdf) -> None:
    """One image drawn twice without a gap: stored once, and twice where the two make one picture."""
    half = draw(matrix=(WIDTH / 2, 0, 0, HEIGHT, 0, 0)) + draw(matrix=(WIDTH / 2, 0, 0, HEIGHT, WIDTH / 2, 0))
    page(pdf, half, {"/Im": image(pdf, np.where(GREY > 128, 230, 40).astype(np.uint8))})


def stencils(pdf: pikepdf.Pdf) -> tuple[str, dict[str, pikepdf.Object]]:
    content, images = pieces(pdf, 10, 1, GREY > 110)
    for stencil in images.values():
        stencil.ImageMask = True
        del stencil.ColorSpace
    return content, images


@structure()
def strips_of_stencils(pdf: pikepdf.Pdf) -> None:
    page(pdf, *stencils(pdf))


@structure()
def strips_over_text(pdf: pikepdf.Pdf) -> None:
    content, images = stencils(pdf)
    page(pdf, text("Case 12-345", "60 150", 5) + content, images)


@structure(*KEPT)
def layers_over_text(pdf: pikepdf.Pdf) -> None:
    """A text that the stencil would hide if it became a picture."""
    ink = image(pdf, GREY > 110, ImageMask=True)
    del ink.ColorSpace
    images = {"/Photo": image(pdf, COLOUR[:100, :100]), "/Ink": ink}
    page(pdf, text("Case 12-345", "60 150", 5) + draw("Photo", (70, 0, 0, 70, 150, 10)) + draw("Ink"), images)


@structure()
def strips_inline(pdf: pikepdf.Pdf) -> None:
    content = b""
    for row in range(4):
        piece = GREY[row * 120 : (row + 1) * 120]
        content += f"q {WIDTH} 0 0 {HEIGHT / 4} 0 {HEIGHT * (3 - row) / 4} cm ".encode()
        content += b"BI /W 340 /H 120 /BPC 8 /CS /G /F /AHx ID " + piece.tobytes().hex().encode() + b"> EI Q\n"
    page(pdf, content)


def paper(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    level = 215 - 40 * np.exp(-((rows / shape[0] - 0.5) ** 2 + (columns / shape[1] - 0.5) ** 2) * 20)
    return np.stack([level, level * 0.97, level * 0.85], 2).astype(np.uint8)


@structure()
def layers_stencil(pdf: pikepdf.Pdf) -> None:
    ink = image(pdf, GREY > 110, ImageMask=True)
    del ink.ColorSpace
    images = {"/Bg": coded(pdf, paper((120, 85)), "JPEG", quality=60), "/Ink": ink}
    page(pdf, text("Hidden words", mode=3) + draw("Bg") + "0.1 g " + draw("Ink"), images)


@structure()
def layers_soft_mask(pdf: pikepdf.Pdf) -> None:
    soft = image(pdf, 255 - GREY)
    images = {
        "/Bg": coded(pdf, paper((240, 170)), "JPEG", quality=60),
        "/Ink": image(pdf, np.zeros((1, 1, 3), np.uint8)),
    }
    images["/Ink"].SMask = soft
    page(pdf, draw("Bg") + draw("Ink"), images)


@structure()
def layers_explicit_mask(pdf: pikepdf.Pdf) -> None:
    mask = image(pdf, GREY > 110, ImageMask=True)
    del mask.ColorSpace
    images = {"/Bg": image(pdf, paper((240, 170))), "/Ink": image(pdf, np.full((30, 20, 3), 20, np.uint8), Mask=mask)}
    page(pdf, draw("Bg") + draw("Ink"), images)


@structure()
def hidden_text_above(pdf: pikepdf.Pdf) -> None:
    scan(pdf, extra=text("The harbour office returned " * 12, mode=3))


@structure()
def hidden_text_below(pdf: pikepdf.Pdf) -> None:
    content = text("The harbour office returned " * 12, "20 200") + draw()
    page(pdf, content, {"/Im": image(pdf, GREY)})


def layered(pdf: pikepdf.Pdf, *, shown: bool, membership: bool = False, expression: bool = False) -> None:
    group = pdf.make_indirect(Dictionary(Type=Name.OCG, Name="Notes"))
    state = Dictionary(ON=Array([group])) if shown else Dictionary(OFF=Array([group]))
    pdf.Root.OCProperties = Dictionary(OCGs=Array([group]), D=state)
    made = scan(pdf, extra="/OC /L BDC " + text("Notes of the reader " * 15) + " EMC")
    member = Dictionary(Type=Name.OCMD, OCGs=group) if membership else group
    if expression:  # shown where the group is not, and the group alone would say the contrary
        negated = Array([Name.And, Array([Name.Not, group]), Array([Name.Or, group, Array([Name.Not, group])])])
        member = Dictionary(Type=Name.OCMD, OCGs=group, VE=negated)
    made.obj.Resources.Properties = Dictionary(L=member)


@structure(*KEPT)
def layer_on(pdf: pikepdf.Pdf) -> None:
    layered(pdf, shown=True)


@structure()
def layer_off(pdf: pikepdf.Pdf) -> None:
    layered(pdf, shown=False)


@structure()
def layer_membership_off(pdf: pikepdf.Pdf) -> None:
    layered(pdf, shown=False, membership=True)


@structure(*KEPT)
def layer_expression_on(pdf: pikepdf.Pdf) -> None:
    layered(pdf, shown=False, expression=True)


@structure()
def layer_expression_off(pdf: pikepdf.Pdf) -> None:
    layered(pdf, shown=True, expression=True)


@structure()
def annotated(pdf: pikepdf.Pdf) -> None:
    made = scan(pdf)
    link = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([10, 10, 60, 30]), Border=Array([0, 0, 0]))
    link.A = Dictionary(S=Name.URI, URI="https://example.org")
    note = Dictionary(Type=Name.Annot, Subtype=Name.Text, Rect=Array([200, 300, 220, 320]), Contents="A remark")
    made.obj.Annots = Array([pdf.make_indirect(link), pdf.make_indirect(note)])


def field(pdf: pikepdf.Pdf, made: pikepdf.Page) -> None:
    """Add a text field with a value that its appearance shows."""
    look = pdf.make_stream(b"/Tx BMC q BT /F 8 Tf 2 4 Td (Typed value) Tj ET Q EMC")
    look.Type, look.Subtype, look.BBox = Name.XObject, Name.Form, Array([0, 0, 80, 14])
    look.Resources = Dictionary(Font=made.obj.Resources.Font)
    widget = Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Tx, T="name", V="Typed value", F=4)
    widget.Rect, widget.AP = Array([150, 5, 230, 19]), Dictionary(N=look)
    widget = pdf.make_indirect(widget)
    made.obj.Annots = Array([widget])
    pdf.Root.AcroForm = Dictionary(Fields=Array([widget]))


@structure()
def scanned_form(pdf: pikepdf.Pdf) -> None:
    field(pdf, scan(pdf))


@structure(*KEPT)
def typed_form(pdf: pikepdf.Pdf) -> None:
    field(pdf, page(pdf, text("Name") + text("Please fill in and sign", "20 250") + "20 240 200 20 re S"))


@structure()
def furnished(pdf: pikepdf.Pdf) -> None:
    scan(pdf, extra="/Figure <</MCID 0>> BDC EMC ", StructParents=0)
    with pdf.open_outline() as outline:
        outline.root.append(pikepdf.OutlineItem("First", 0))
    pdf.Root.PageLabels = Dictionary(Nums=Array([0, Dictionary(S=Name.r)]))
    pdf.attachments["data.csv"] = pikepdf.AttachedFileSpec(pdf, b"1,2,3", filename="data.csv")
    pdf.docinfo["/Title"] = "Minutes"
    with pdf.open_metadata() as metadata:
        metadata["dc:title"] = "Minutes"
    element = pdf.make_indirect(Dictionary(Type=Name.StructElem, S=Name.Figure, Alt="A page", K=0, Pg=pdf.pages[0].obj))
    pdf.Root.StructTreeRoot = pdf.make_indirect(Dictionary(Type=Name.StructTreeRoot, K=element))
    pdf.Root.MarkInfo = Dictionary(Marked=True)


def form(pdf: pikepdf.Pdf, content: str, box: tuple[float, ...] = (0, 0, 1, 1), **entries: Any) -> pikepdf.Object:
    made = pdf.make_stream(content.encode())
    made.Type, made.Subtype, made.BBox = Name.XObject, Name.Form, Array(box)
    for name, value in entries.items():
        made[f"/{name}"] = value
    return made


@structure()
def image_in_form(pdf: pikepdf.Pdf) -> None:
    inner = form(pdf, draw(matrix=(1, 0, 0, 1, 0, 0)), Resources=Dictionary(XObject=Dictionary(Im=image(pdf, GREY))))
    page(pdf, draw("Fm"), {"/Fm": inner})


@structure()
def image_in_nested_forms(pdf: pikepdf.Pdf) -> None:
    inner = form(
        pdf,
        draw(matrix=(1, 0, 0, 1, 0, 0)),
        Matrix=Array([0.5, 0, 0, 0.5, 0, 0]),
        Group=Dictionary(S=Name.Transparency),
    )
    inner.Resources = Dictionary(XObject=Dictionary(Im=image(pdf, GREY)))
    outer = form(pdf, "q 2 0 0 2 0 0 cm /In Do Q", Resources=Dictionary(XObject=Dictionary(In=inner)))
    page(pdf, draw("Fm"), {"/Fm": outer})


@structure()
def form_without_resources(pdf: pikepdf.Pdf) -> None:
    page(pdf, draw("Fm"), {"/Fm": form(pdf, "/Im Do"), "/Im": image(pdf, GREY)})


@structure()
def form_cycle(pdf: pikepdf.Pdf) -> None:
    loop = form(pdf, "/Loop Do")
    loop.Resources = Dictionary(XObject=Dictionary(Loop=loop))
    page(pdf, draw() + draw("Loop"), {"/Im": image(pdf, GREY), "/Loop": loop})


@structure()
def inline_image(pdf: pikepdf.Pdf) -> None:
    head = f"q {WIDTH} 0 0 {HEIGHT} 0 0 cm BI /W 340 /H 480 /BPC 8 /CS /G /F /AHx ID ".encode()
    page(pdf, head + GREY.tobytes().hex().encode() + b"> EI Q\n" + text("Case 12", "60 4", 5).encode())


@structure("cleaned", "cleaned")
def shared_by_two_pages(pdf: pikepdf.Pdf) -> None:
    shared = image(pdf, GREY)
    page(pdf, draw(), {"/Im": shared})
    page(pdf, draw(), {"/Im": shared})


@structure("cleaned", "kept")
def shared_with_a_page_of_text(pdf: pikepdf.Pdf) -> None:
    shared = image(pdf, GREY)
    page(pdf, draw(), {"/Im": shared})
    page(pdf, draw(matrix=(60, 0, 0, 80, 20, 20)) + text("A page of words about a picture " * 4), {"/Im": shared})


@structure()
def stencil(pdf: pikepdf.Pdf) -> None:
    made = image(pdf, BITS, ImageMask=True)
    del made.ColorSpace
    page(pdf, draw(), {"/Im": made})


@structure()
def stencil_inverted(pdf: pikepdf.Pdf) -> None:
    made = image(pdf, ~BITS, ImageMask=True, Decode=Array([1, 0]))
    del made.ColorSpace
    page(pdf, "0 0 0.4 rg " + draw(), {"/Im": made})


def single(name: str, build: Callable[[pikepdf.Pdf], pikepdf.Object], statuses: tuple[str, ...] = CLEANED) -> None:
    """Register a scan of one image that `build` makes."""
    STRUCTURES[name] = Structure(lambda pdf: page(pdf, draw(), {"/Im": build(pdf)}) and None, statuses, {})


def icc(pdf: pikepdf.Pdf, channels: int) -> Array:
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if channels == 3 else b"grey profile"
    profile = pdf.make_stream(data)
    profile.N = channels
    profile.Alternate = Name.DeviceRGB if channels == 3 else Name.DeviceGray
    return Array([Name.ICCBased, profile])


def function(pdf: pikepdf.Pdf, end: tuple[float, ...]) -> Dictionary:
    return Dictionary(FunctionType=2, Domain=Array([0, 1]), C0=Array([0] * len(end)), C1=Array(end), N=1)


def key_masked(pdf: pikepdf.Pdf) -> pikepdf.Object:
    pixels = GREY.copy()
    pixels[:60] = 0
    return image(pdf, pixels, Mask=Array([0, 0]))


def run_length(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """Every run of 128 bytes as it is, then the end of the data."""
    made, data = image(pdf, GREY), GREY.tobytes()
    runs = [data[k : k + 128] for k in range(0, len(data), 128)]
    coded_runs = b"".join(bytes([len(part) - 1]) + part for part in runs)
    made.write(coded_runs + b"\x80", filter=Name.RunLengthDecode)
    return made


def wrapped_jpeg(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """A JPEG inside Flate, with parameters of Flate."""
    made = coded(pdf, GREY, "JPEG", quality=80)
    parameters = Array([Dictionary(Predictor=1), Dictionary()])
    filters = Array([Name.FlateDecode, Name.DCTDecode])
    made.write(zlib.compress(made.read_raw_bytes()), filter=filters, decode_parms=parameters)
    return made


def two_colours(pdf: pikepdf.Pdf, *colours: tuple[int, int, int]) -> pikepdf.Object:
    """The text of one bit in the first colour, as sample 0, on the second."""
    table = bytes(channel for colour in colours for channel in colour)
    return image(pdf, BITS, ColorSpace=Array([Name.Indexed, Name.DeviceRGB, 1, pikepdf.String(table)]))


BLUE, CREAM = (20, 30, 140), (255, 248, 224)
PALETTE = np.linspace(0, 255, 16).astype(np.uint8)
single("one-bit-fax", lambda pdf: fax(pdf, BITS))
single("one-bit-flate", lambda pdf: image(pdf, BITS))
single("one-bit-decode", lambda pdf: image(pdf, ~BITS, Decode=Array([1, 0])))
single("grey-decode", lambda pdf: image(pdf, 255 - GREY, Decode=Array([1, 0])))
single("colour", lambda pdf: image(pdf, COLOUR))
single("grey-16-bit", lambda pdf: image(pdf, GREY.astype(np.uint16) * 257))
single("colour-16-bit", lambda pdf: image(pdf, COLOUR.astype(np.uint16) * 257))
single(
    "palette-grey",
    lambda pdf: image(pdf, GREY // 17, ColorSpace=Array([Name.Indexed, Name.DeviceGray, 15, PALETTE.tobytes()])),
)
single(
    "palette-colour",
    lambda pdf: image(
        pdf,
        GREY // 17,
        ColorSpace=Array([Name.Indexed, icc(pdf, 3), 15, np.stack([PALETTE, PALETTE, PALETTE // 2], 1).tobytes()]),
    ),
)
single("cmyk", lambda pdf: image(pdf, np.stack([*3 * [0 * GREY], 255 - GREY], 2), ColorSpace=Name.DeviceCMYK))
single("icc-grey", lambda pdf: image(pdf, GREY, ColorSpace=icc(pdf, 1)))
single("icc-colour", lambda pdf: image(pdf, COLOUR, ColorSpace=icc(pdf, 3)))
single(
    "lab",
    lambda pdf: image(
        pdf,
        np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], 2),
        ColorSpace=Array(
            [Name.Lab, Dictionary(WhitePoint=Array([0.95, 1, 1.09]), Range=Array([-128, 127, -128, 127]))]
        ),
    ),
)
single(
    "separation",
    lambda pdf: image(
        pdf, 255 - GREY, ColorSpace=Array([Name.Separation, Name.Ink, Name.DeviceCMYK, function(pdf, (0, 0, 0, 1))])
    ),
)
single("jpeg-grey", lambda pdf: coded(pdf, GREY, "JPEG", quality=70))
single("jpeg-colour", lambda pdf: coded(pdf, COLOUR, "JPEG", quality=80, subsampling=0))
single("jpeg-4-2-0", lambda pdf: coded(pdf, COLOUR, "JPEG", quality=60, subsampling=2))
single("jpeg-2000", lambda pdf: coded(pdf, COLOUR, "JPEG2000", quality_mode="rates", quality_layers=[8]))
single("key-mask", key_masked)
single("run-length", run_length)
single("jpeg-in-flate", wrapped_jpeg)
single("one-bit-palette", lambda pdf: two_colours(pdf, BLUE, CREAM))
single("one-bit-palette-decode", lambda pdf: image(
    pdf, ~BITS, Decode=Array([1, 0]),
    ColorSpace=Array([Name.Indexed, Name.DeviceRGB, 1, pikepdf.String(bytes((*BLUE, *CREAM)))]),
))  # fmt: skip
single(
    "palette-cut-short",
    lambda pdf: image(pdf, GREY // 17, ColorSpace=Array([Name.Indexed, Name.DeviceGray, 15, PALETTE.tobytes()[:9]])),
    FAILED,
)
single("soft-mask", lambda pdf: image(pdf, GREY, SMask=image(pdf, np.full(SHAPE, 255, np.uint8))))


@structure()
def jpeg_cmyk(pdf: pikepdf.Pdf) -> None:
    made = coded(pdf, COLOUR, "JPEG", "CMYK", quality=80)  # PIL writes them inverted, as Adobe does
    made.Decode = Array([1, 0] * 4)
    page(pdf, draw(), {"/Im": made})


@structure("kept", "kept")
def slides(pdf: pikepdf.Pdf) -> None:
    picture = coded(pdf, COLOUR[:180], "JPEG", quality=60)
    for title in ("Quarterly results", "Next steps for the team"):
        page(
            pdf,
            draw(matrix=(360, 0, 0, 200, 0, 0)) + text(title, "30 160", 14),
            {"/Im": picture},
            MediaBox=Array([0, 0, 360, 200]),
        )


@structure(*KEPT)
def words(pdf: pikepdf.Pdf) -> None:
    lines = "".join(text("Words that were typed and not scanned", f"20 {320 - 12 * row}") for row in range(20))
    page(pdf, lines + draw(matrix=(60, 0, 0, 60, 150, 10)), {"/Im": image(pdf, COLOUR[:100, :100])})


@structure(*KEPT)
def drawn(pdf: pikepdf.Pdf) -> None:
    lines = "".join(f"{10 + row} 20 m {200 - row} {300 - row} l S\n" for row in range(0, 150))
    page(pdf, lines + draw(matrix=(60, 0, 0, 60, 150, 10)), {"/Im": image(pdf, COLOUR[:100, :100])})


@structure(*KEPT)
def specks(pdf: pikepdf.Pdf) -> None:
    page(
        pdf,
        draw(matrix=(10, 0, 0, 10, 20, 20)) + draw(matrix=(10, 0, 0, 10, 90, 200)),
        {"/Im": image(pdf, GREY[:20, :20])},
    )


@structure(*KEPT)
def blank(pdf: pikepdf.Pdf) -> None:
    page(pdf, "")


@structure()
def content_in_pieces(pdf: pikepdf.Pdf) -> None:
    made = scan(pdf)
    parts = (b"q 245 0 0", b"346 0 0 cm", b"/Im Do", b"Q")
    made.obj.Contents = Array([pdf.make_stream(part) for part in parts])


@structure()
def two_receipts(pdf: pikepdf.Pdf) -> None:
    images = {"/A": image(pdf, GREY[:240]), "/B": image(pdf, grey_scan(3)[:240])}
    page(pdf, draw("A", (200, 0, 0, 140, 20, 190)) + draw("B", (200, 0, 0, 140, 20, 10)), images)


for name, settings in {
    "object-streams": {"object_stream_mode": pikepdf.ObjectStreamMode.generate},
    "linearised": {"linearize": True},
    "version-1-3": {"force_version": "1.3", "object_stream_mode": pikepdf.ObjectStreamMode.disable},
    "encrypted-rc4-40": {"encryption": pikepdf.Encryption(owner="o", user="", R=2, aes=False, metadata=False)},
    "encrypted-rc4-128": {"encryption": pikepdf.Encryption(owner="o", user="", R=3, aes=False, metadata=False)},
    "encrypted-aes-128": {"encryption": pikepdf.Encryption(owner="o", user="", R=4)},
    "encrypted-aes-256": {
        "encryption": pikepdf.Encryption(owner="o", user="", R=6, allow=pikepdf.Permissions(extract=False))
    },
}.items():
    STRUCTURES[name] = Structure(lambda pdf: scan(pdf) and None, CLEANED, settings)


@structure(*FAILED, encryption=pikepdf.Encryption(owner="o", user="u"))
def locked(pdf: pikepdf.Pdf) -> None:
    scan(pdf)


@structure("cleaned", "failed", "cleaned")
def null_kid(pdf: pikepdf.Pdf) -> Callable[[bytes], bytes]:
    scan(pdf)
    scan(pdf, grey_scan(1))
    pdf.Root.Pages.Spare = Name("/xxxxxx")

    def edit(data: bytes) -> bytes:
        """Put null between the kids without moving any object."""
        start = data.index(b"/Kids [ ") + 8
        data = data.replace(b"/xxxxxx", b"/x")
        end = data.index(b" R ", start) + 3
        return data[:end] + b"null" + data[end - 1 :]

    return edit


@structure("cleaned", "failed", "cleaned")
def damaged_image(pdf: pikepdf.Pdf) -> None:
    scan(pdf)
    made = image(pdf, GREY)
    made.write(zlib.compress(GREY.tobytes())[:2000], filter=Name.FlateDecode)
    page(pdf, draw(), {"/Im": made})
    scan(pdf, grey_scan(1))


@structure("failed", "cleaned")
def unknown_filter(pdf: pikepdf.Pdf) -> None:
    made = image(pdf, GREY)
    made.write(b"xyz", filter=Name.FooDecode)
    page(pdf, draw(), {"/Im": made})
    scan(pdf)


@structure("failed", "cleaned")
def lost_image(pdf: pikepdf.Pdf) -> None:
    """Refer to an image that is not there, as a file that was cut off does."""
    page(pdf, draw(), {})
    scan(pdf)


@structure("failed", "cleaned")
def too_many_pixels(pdf: pikepdf.Pdf) -> None:
    page(pdf, draw(), {"/Im": image(pdf, BITS, Width=20_000, Height=20_000)})
    scan(pdf)


def signature(pdf: pikepdf.Pdf, *, signed: bool) -> None:
    made = scan(pdf)
    widget = Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Sig, T="s", Rect=Array([0, 0, 0, 0]), F=132)
    if signed:
        value = Dictionary(Type=Name.Sig, Filter=Name("/Adobe.PPKLite"), SubFilter=Name("/adbe.pkcs7.detached"))
        value.Contents, value.ByteRange = b"\0" * 64, Array([0, 10, 20, 30])
        widget.V = pdf.make_indirect(value)
    widget = pdf.make_indirect(widget)
    made.obj.Annots = Array([widget])
    pdf.Root.AcroForm = Dictionary(Fields=Array([widget]), SigFlags=3 if signed else 1)


@structure(*FAILED)
def signed(pdf: pikepdf.Pdf) -> None:
    signature(pdf, signed=True)


@structure(*FAILED)
def signed_without_a_form(pdf: pikepdf.Pdf) -> None:
    signature(pdf, signed=True)
    del pdf.Root.AcroForm


@structure()
def unsigned_field(pdf: pikepdf.Pdf) -> None:
    signature(pdf, signed=False)


@structure(*FAILED)
def certified(pdf: pikepdf.Pdf) -> None:
    scan(pdf)
    pdf.Root.Perms = Dictionary(DocMDP=pdf.make_indirect(Dictionary(Type=Name.Sig)))
