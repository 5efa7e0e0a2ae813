"""Every structure of `pdf_structures` through the command, before and after compared by other programs than ours."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pikepdf
import pytest
from docclean.pdf_structures import BLUE, CREAM, STRUCTURES, write
from known import known
from PIL import Image, JpegImagePlugin
from scans import docclean, lightening

from fastdiff.cli.main import main

pytestmark = pytest.mark.slow

LIGHTER = 0.1  # of full white
WEIGHTS = f"lighter{LIGHTER}.safetensors"  # in the folder of the run
DPI = 100
SAME, MOVED = 0.98, 0.9  # least overlap of ink on pages that were kept, and cleaned
LEAST = {"layers-stencil": 0.8}  # poppler draws a stencil a pixel larger than the image in its place
ONE_BIT = {
    "strips-one-bit",
    "strips-of-stencils",
    "strips-over-text",
    "stencil",
    "stencil-inverted",
    "one-bit-fax",
    "one-bit-flate",
    "one-bit-decode",
    "one-bit-palette",
    "one-bit-palette-decode",
}
WRITTEN = [name for name, made in STRUCTURES.items() if made.statuses != ("failed",)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the structures in `in`, and what one run of the command made of them in `out`."""
    folder = tmp_path_factory.mktemp("structures")
    (folder / "in").mkdir()
    for name in STRUCTURES:
        write(name, folder / "in")
    assert docclean(lightening(folder, LIGHTER), folder / "in", "-o", folder / "out") == 4
    yield folder


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{package} is not installed")


def shown(path: Path, folder: Path) -> list[np.ndarray]:
    """The pages as poppler draws them: uint8 grey."""
    _need("pdftoppm", "poppler-utils")
    folder.mkdir()
    subprocess.run(["pdftoppm", "-r", str(DPI), "-gray", path, folder / "page"], check=True, capture_output=True)
    return [known(cv2.imread(str(page), cv2.IMREAD_GRAYSCALE)) for page in sorted(folder.iterdir())]


def overlap(before: np.ndarray, after: np.ndarray) -> float:
    """Intersection over union of the ink, a pixel wider on every side."""
    inks = [darker(page) for page in (before, after)]
    inks = [cv2.dilate(ink, np.ones((3, 3), np.uint8)) for ink in inks]
    union = np.logical_or(*inks).sum()
    return float(np.logical_and(*inks).sum() / union) if union else 1.0


def darker(page: np.ndarray) -> np.ndarray:
    """Return 1 for pixels that are clearly darker than their surroundings, else 0."""
    return cv2.adaptiveThreshold(page, 1, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY_INV, 31, 30)


def printed(program: str, path: Path) -> str:
    _need(program, "poppler-utils")
    return subprocess.run([program, path, "-"], check=True, capture_output=True, text=True).stdout


def complaints(path: Path) -> set[str]:
    """Return the findings of qpdf, without the file's name."""
    _need("qpdf", "qpdf")
    found = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True)
    return {line.replace(str(path), "") for line in found.stderr.splitlines() if "WARNING" in line or "ERROR" in line}


def furniture(path: Path) -> dict[str, Any]:
    """Everything of a file that is no content of its pages."""
    with pikepdf.open(path) as pdf, pdf.open_outline() as outline:
        forms: Any = pdf.Root.get("/AcroForm", {})
        return {
            "boxes": [
                {name: str(page.obj.get(name)) for name in ("/MediaBox", "/CropBox", "/Rotate", "/UserUnit")}
                for page in pdf.pages
            ],
            "annotations": [len(page.obj.get("/Annots", [])) for page in pdf.pages],
            "fields": [(str(field.T), str(field.get("/V"))) for field in forms.get("/Fields", [])],
            "outline": [item.title for item in outline.root],
            "labels": [page.label for page in pdf.pages],
            "attachments": {name: file.get_file().read_bytes() for name, file in pdf.attachments.items()},
            "structure": "/StructTreeRoot" in pdf.Root,
            "layers": str(pdf.Root.get("/OCProperties", {}).keys()),
            "metadata": pdf.Root.Metadata.read_bytes() if "/Metadata" in pdf.Root else None,
            "title": str(pdf.docinfo.get("/Title")),
            "encryption": (pdf.is_encrypted, pdf.is_encrypted and pdf.encryption.bits, pdf.allow),
            "linearised": pdf.is_linearized,
        }


def reported(run: Path) -> dict[str, list[dict[str, Any]]]:
    pages: dict[str, list[dict[str, Any]]] = {}
    for page in json.loads((run / "out" / "report.json").read_text())["pages"]:
        pages.setdefault(Path(page["input"]).stem, []).append(page)
    return pages


def test_each_page_gets_the_status_that_it_ought_to(run: Path) -> None:
    statuses = {name: tuple(page["status"] for page in pages) for name, pages in reported(run).items()}
    assert statuses == {name: made.statuses for name, made in STRUCTURES.items()}
    assert sorted(path.stem for path in (run / "out").glob("*.pdf")) == sorted(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_structure_shows_the_same_ink_and_keeps_everything_else(run: Path, tmp_path: Path, name: str) -> None:
    before, after = (run / folder / f"{name}.pdf" for folder in ("in", "out"))
    if name == "null-kid":  # qpdf alone knows the pages behind it
        with pikepdf.open(before) as pdf:
            pdf.save(before := tmp_path / "whole.pdf")
    assert printed("pdftotext", after) == printed("pdftotext", before)
    assert furniture(after) == furniture(before)
    assert complaints(after) <= complaints(before)
    statuses = [page for page in STRUCTURES[name].statuses if not (name == "null-kid" and page == "failed")]
    if set(statuses) == {"kept"}:
        assert after.read_bytes() == before.read_bytes()
        return
    pages = zip(statuses, shown(before, tmp_path / "b"), shown(after, tmp_path / "a"), strict=True)
    for status, old, new in pages:
        assert old.shape == new.shape
        assert overlap(old, new) >= (LEAST.get(name, MOVED) if status == "cleaned" else SAME)
        paper = (old > 160) & (old < 250)
        lighter = float(np.median(new[paper].astype(int) - old[paper])) if paper.any() else 0
        if status != "cleaned":
            assert lighter == 0
        elif name not in ONE_BIT:
            assert lighter >= 10, "it was not cleaned"


@contextmanager
def images(path: Path) -> Iterator[list[pikepdf.Object]]:
    """The image objects of a file."""
    with pikepdf.open(path) as pdf:
        streams = [each for each in pdf.objects if isinstance(each, pikepdf.Stream)]
        yield [each for each in streams if each.get("/Subtype") == pikepdf.Name.Image]


def data_of(path: Path) -> list[bytes]:
    with images(path) as found:
        return [image.read_raw_bytes() for image in found]


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("one-bit-flate", {"/Filter": "/CCITTFaxDecode", "/BitsPerComponent": 1, "/ColorSpace": "/DeviceGray"}),
        ("stencil", {"/Filter": "/CCITTFaxDecode", "/ImageMask": True, "/ColorSpace": None}),
        ("stencil-inverted", {"/Filter": "/CCITTFaxDecode", "/ImageMask": True, "/Decode": None}),
        ("jpeg-grey", {"/Filter": "/DCTDecode", "/ColorSpace": "/DeviceGray"}),
        ("jpeg-4-2-0", {"/Filter": "/DCTDecode", "/ColorSpace": "/DeviceRGB"}),
        ("jpeg-cmyk", {"/Filter": "/DCTDecode", "/ColorSpace": "/DeviceRGB", "/Decode": None}),
        ("grey-16-bit", {"/Filter": "/FlateDecode", "/BitsPerComponent": 16}),
        ("palette-grey", {"/ColorSpace": "/DeviceGray", "/BitsPerComponent": 8}),
        ("one-bit-palette", {"/ColorSpace": "/Indexed", "/BitsPerComponent": 1, "/Filter": "/CCITTFaxDecode"}),
        ("icc-grey", {"/ColorSpace": "/ICCBased"}),
        ("icc-colour", {"/ColorSpace": "/ICCBased"}),
        ("palette-colour", {"/ColorSpace": "/ICCBased"}),
    ],
)
def test_a_cleaned_image_is_of_the_kind_that_it_was(run: Path, name: str, entries: dict[str, Any]) -> None:
    with images(run / "out" / f"{name}.pdf") as found:
        (image,) = found
        for key, expected in entries.items():
            value = image.get(key)
            value = value[0] if isinstance(value, pikepdf.Array) else value
            assert (str(value) if isinstance(expected, str) else value) == expected


@pytest.mark.parametrize("name", ["one-bit-palette", "one-bit-palette-decode"])
def test_a_palette_of_two_colours_keeps_them(run: Path, tmp_path: Path, name: str) -> None:
    _need("pdftoppm", "poppler-utils")
    subprocess.run(["pdftoppm", "-r", str(DPI), "-png", run / "out" / f"{name}.pdf", tmp_path / "page"], check=True)
    (picture,) = tmp_path.iterdir()
    counts: Any = Image.open(picture).convert("RGB").getcolors(2**24)
    counts.sort(reverse=True)
    assert [colour for _, colour in counts[:2]] == [CREAM, BLUE]


def test_a_jpeg_keeps_its_tables_and_sampling(run: Path) -> None:
    pictures = [Image.open(io.BytesIO(*data_of(run / folder / "jpeg-4-2-0.pdf"))) for folder in ("in", "out")]
    before, after = (picture for picture in pictures if isinstance(picture, JpegImagePlugin.JpegImageFile))
    assert before.quantization == after.quantization
    assert [JpegImagePlugin.get_sampling(picture) for picture in pictures] == [2, 2]


def test_signed_files_are_cleaned_on_demand_and_reported(run: Path, tmp_path: Path) -> None:
    assert reported(run)["signed"][0]["reason"].endswith("would break the signature: give --break-signatures")
    arguments = ["--ocr", "none", "--task", "clean", "--force-clean", "--weights", str(run / WEIGHTS)]
    signed = str(run / "in" / "signed.pdf")
    assert main(["docclean", signed, "-o", str(tmp_path / "out.pdf"), *arguments]) == 2
    assert main(["docclean", signed, "-o", str(tmp_path / "out.pdf"), *arguments, "--break-signatures"]) == 0
    page = json.loads((tmp_path / "out-report.json").read_text())["pages"][0]
    assert page["status"] == "cleaned" and "signature of the file is broken" in page["reason"]


def test_pages_of_text_are_counted_on_the_screen(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slides = str(run / "in" / "slides.pdf")
    assert main(["docclean", slides, "-o", str(tmp_path / "out.pdf"), "--ocr", "none"]) == 0
    told = capsys.readouterr().out
    assert "2 pages of text passed through untouched" in told and "kept: " not in told


def test_an_image_drawn_twice_counts_once_where_its_size_is_remarked(run: Path) -> None:
    (page,) = reported(run)["twice-side-by-side"]
    before, after = (sum(map(len, data_of(run / folder / "twice-side-by-side.pdf"))) for folder in ("in", "out"))
    assert after > 1.5 * before and f"takes {after / before:.1f} times the bytes" in page["reason"]


def test_a_shared_image_is_cleaned_once(run: Path) -> None:
    first, second = reported(run)["shared-by-two-pages"]
    assert first["reason"] is None and second["reason"] == "its picture is that of page 1"
    assert len(data_of(run / "out" / "shared-by-two-pages.pdf")) == 1


def test_a_page_of_text_keeps_an_image_that_a_scan_shows_too(run: Path) -> None:
    old, new = (set(data_of(run / folder / "shared-with-a-page-of-text.pdf")) for folder in ("in", "out"))
    assert old < new


@pytest.mark.parametrize(
    "name", ["crop-off-page", "crop-larger", "rotate-45", "rotate-450", "inherited", "box-reversed"]
)
def test_odd_pages_become_images_as_viewers_show_them(run: Path, tmp_path: Path, name: str) -> None:
    arguments = ["--ocr", "none", "--task", "clean", "--weights", str(run / WEIGHTS), "--format", "png"]
    path = run / "in" / f"{name}.pdf"
    assert main(["docclean", str(path), "-o", str(tmp_path / "out.png"), *arguments]) == 0
    new = known(cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_GRAYSCALE))
    (old,) = shown(path, tmp_path / "before")
    assert overlap(old, cv2.resize(new, old.shape[::-1], interpolation=cv2.INTER_AREA)) >= MOVED
