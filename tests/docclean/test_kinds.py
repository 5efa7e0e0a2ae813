"""The command over a folder that holds every kind of image, and over files that are not what their names say."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from known import known
from PIL import Image
from scans import docclean, judged, lightening, striped

DARKER = 0.1  # of full white, which the network takes from every pixel
COLOUR = np.dstack([striped(20), striped(60), striped(90)])
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>box 9</x:xmpmeta>"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), -DARKER)


def every_kind(folder: Path) -> None:
    folder.mkdir()
    grey, colour, bits = Image.fromarray(striped()), Image.fromarray(COLOUR), Image.fromarray(striped() > 100)
    exif = Image.Exif()
    exif[270] = "A deed"
    for name, format in (("a.jpg", "JPEG"), ("b.jpeg", "JPEG"), ("c.jpe", "JPEG"), ("d.jfif", "JPEG")):
        colour.save(folder / name, format=format, quality=98, exif=exif, xmp=XMP)
    colour.save(folder / "e.avif", quality=100, exif=exif, xmp=XMP)
    colour.save(folder / "f.webp", lossless=True, exif=exif, xmp=XMP)
    pillow_heif.from_pillow(colour).save(folder / "g.heic", quality=100, exif=exif.tobytes(), xmp=XMP)
    bits.save(folder / "h.png")
    bits.save(folder / "i.bmp")
    bits.save(folder / "j.pbm")
    bits.save(folder / "k.tif", compression="group4")
    tifffile.imwrite(folder / "l.tiff", striped() > 100, photometric="minisblack")
    bits.save(folder / "m.gif")
    for name in ("n.pgm", "o.pnm", "p.jp2"):
        assert cv2.imwrite(str(folder / name).replace(".pnm", ".pgm"), striped())
    (folder / "o.pgm").rename(folder / "o.pnm")
    grey.save(folder / "q.j2k")
    cv2.imwrite(str(folder / "r.ppm"), (COLOUR[..., ::-1]).astype(np.uint16) * 257)
    tifffile.imwrite(folder / "s.tif", COLOUR.astype(np.uint16) * 257, photometric="rgb", byteorder=">")
    colour.convert("CMYK").save(folder / "t.tif", compression="tiff_lzw")
    stamped = COLOUR.copy()
    stamped[60:80, 20:60] = 200, 40, 40  # a third colour: two would take one bit
    Image.fromarray(stamped).quantize(64).save(folder / "u.gif", comment=b"from the attic")
    colour.save(folder / "v.png", format="JPEG", quality=98, exif=exif)  # is no PNG


def shown(path: Path) -> tuple[np.ndarray, str]:
    """The pixels and the kind of a file by Pillow, or what reads 16-bit colour."""
    if path.suffix == ".heic":
        return np.asarray(pillow_heif.open_heif(path).to_pillow()), "HEIF"
    with Image.open(path) as image:
        image.load()
        if path.name in ("r.ppm", "s.tif"):
            return known(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[..., ::-1] / 257, str(image.format)
        return np.asarray(image.convert("L") if image.mode == "1" else image), f"{image.format} {image.mode}"


def test_a_folder_of_every_kind(tmp_path: Path, weights: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "scans-clean"
    every_kind(scans)
    assert docclean(weights, scans) == 0
    pages = {Path(page["input"]).name: page for page in json.loads((out / "report.json").read_text())["pages"]}
    assert set(pages) == {path.name for path in scans.iterdir()}
    assert {page["status"] for page in pages.values()} == {"cleaned"}
    for name, page in pages.items():
        output = Path(page["output"])
        assert output.name == name.replace(".gif", ".png")
        pixels, kind = shown(output)
        if name in ("h.png", "i.bmp", "j.pbm", "k.tif", "l.tiff", "m.gif"):
            assert kind.endswith(" 1")
            np.testing.assert_array_equal(pixels > 127, striped() > 100)
        elif name not in ("u.gif",):
            assert abs(pixels[:6].astype(float).mean() - (1 - DARKER) * 255) < 3, name
        if name[0] in "abcdefg":
            with Image.open(output) if name != "g.heic" else pillow_heif.open_heif(output).to_pillow() as image:
                assert image.getexif()[270] == "A deed" and image.info["xmp"] == XMP
    with tifffile.TiffFile(out / "k.tif") as file:
        assert file.pages[0].compression == 4
    with tifffile.TiffFile(out / "s.tif") as file:
        assert file.byteorder == ">" and file.pages[0].dtype == np.uint16
    assert shown(out / "u.png")[1] == "PNG RGB" and Image.open(out / "u.png").info["Comment"] == "from the attic"
    assert shown(out / "v.png")[1] == "PNG RGB" and Image.open(out / "v.png").getexif()[270] == "A deed"
    assert {page["reason"] for page in pages.values()} == {None}


def test_what_a_kind_cannot_hold_is_reported(tmp_path: Path, weights: Path) -> None:
    exif = Image.Exif()
    exif[270] = "A deed"
    Image.fromarray(COLOUR).save(tmp_path / "scan.jpg", exif=exif, comment="two words", dpi=(300, 300))
    shutil.copy(tmp_path / "scan.jpg", tmp_path / "scan.bmp")
    assert docclean(weights, tmp_path / "scan.bmp") == 0
    (page,) = json.loads((tmp_path / "scan-clean-report.json").read_text())["pages"]
    assert page["reason"] == 'not carried over of its metadata: EXIF, text "Comment"'
    assert (tmp_path / "scan-clean.bmp").read_bytes()[:2] == b"BM"
    tifffile.imwrite(tmp_path / "deep.tif", striped().astype(np.uint16) * 257, metadata=None)
    assert docclean(weights, tmp_path / "deep.tif", "--format", "jpg", "-o", tmp_path / "deep.jpg") == 0
    (page,) = json.loads((tmp_path / "deep-report.json").read_text())["pages"]
    assert page["reason"] == "its 16 bits a channel became 8"
    assert docclean(weights, tmp_path / "scan.jpg", "--format", "tiff", "-o", tmp_path / "out") == 0
    with tifffile.TiffFile(tmp_path / "out" / "scan.tiff") as file:
        tags = file.pages.first.tags
        assert tags[270].value == "A deed" and tags[282].value == (300, 1)


def test_a_kept_page_of_another_kind_keeps_its_bits_and_words(tmp_path: Path) -> None:
    white = lightening(tmp_path, 1.0)
    Image.fromarray(striped() > 100).save(tmp_path / "scan.gif", comment=b"from the attic")
    assert judged(white, tmp_path / "scan.gif") == 0
    with Image.open(tmp_path / "scan-clean.png") as image:
        assert (image.mode, image.info["Comment"]) == ("1", "from the attic")
        np.testing.assert_array_equal(np.asarray(image), striped() > 100)


def test_gif_is_not_written(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(striped()).save(tmp_path / "scan.png")
    assert docclean(weights, tmp_path / "scan.png", "-o", tmp_path / "out.gif") == 2
    assert "only read: name a .png" in capsys.readouterr().err
    frames = [Image.fromarray(striped()), Image.fromarray(striped(90))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert docclean(weights, tmp_path / "moving.gif") == 2
    assert "is an animation of 2 frames" in capsys.readouterr().err
