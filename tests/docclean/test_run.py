"""docclean from command to files: outputs of every kind, reports, resuming, killed runs, bad inputs.

The network is a real one of small size that only lightens every page: what it does is known in advance.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import img2pdf
import numpy as np
import pikepdf
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scans import docclean, judged, lightening

from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.docclean.restoration import page_restorer
from fastdiff.apps.running import output_manifest
from fastdiff.cli.main import main

pytestmark = pytest.mark.slow

LIGHTER = 0.1  # of full white


def page(seed: int, shape: tuple[int, ...] = (120, 160), paper: int | None = None) -> np.ndarray:
    """Black strokes on paper, by default grey of a level that depends on the seed."""
    pixels = np.full(shape, 200 - seed if paper is None else paper, np.uint8)
    for row in range(10, shape[0] - 10, 12):
        pixels[row : row + 4, 10 + 3 * seed : shape[1] - 10] = 20
    return pixels


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), LIGHTER)


def reported(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def pixels_of(path: Path, index: int = 0) -> np.ndarray:
    with open_document(path) as document:
        return document.page(index).pixels


def assert_lighter(after: np.ndarray, before: np.ndarray) -> None:
    """The paper is lighter; the ink is no lighter than it and at least as dark as it was."""
    ink = before < 60
    lighter = np.minimum(before + LIGHTER * 255, 255)
    assert np.abs(after - lighter)[~ink].max() <= 2
    assert (after[ink] >= before[ink]).all() and (after[ink] <= lighter[ink] + 1).all()


def make_pdf(path: Path, *pages: np.ndarray) -> Path:
    images = [path.with_name(f"{path.stem}{number}.png") for number in range(len(pages))]
    for image, pixels in zip(images, pages, strict=True):
        Image.fromarray(pixels).save(image, dpi=(300, 300))
    path.write_bytes(img2pdf.convert([str(image) for image in images]))
    for image in images:
        image.unlink()
    return path


def test_a_folder_of_every_kind_is_cleaned_in_kind(tmp_path: Path, weights: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number, name in enumerate(("a.png", "b.bmp", "c.webp", "d.tif")):
        Image.fromarray(page(number)).save(scans / name, lossless=True)  # of c.webp
    Image.fromarray(page(4)).save(scans / "e.tiff", save_all=True, append_images=[Image.fromarray(page(5))])
    make_pdf(scans / "f.pdf", page(6), page(7))
    (scans / "stray.txt").write_text("not a page")
    assert docclean(weights, scans) == 0
    clean = tmp_path / "scans-clean"
    names = ["a.png", "b.bmp", "c.webp", "d.tif", "e.tiff", "f.pdf"]
    assert sorted(path.name for path in clean.iterdir()) == [".fastdiff", *names, "report.json"]
    assert not list(clean.rglob("*.part")) and not list(clean.rglob("*.parts"))
    for number, name in enumerate(names[:4]):
        after = pixels_of(clean / name)
        assert_lighter(after if after.ndim == 2 else after[..., 0], page(number))
    for index in (0, 1):
        assert_lighter(pixels_of(clean / "e.tiff", index), page(4 + index))
        assert_lighter(pixels_of(clean / "f.pdf", index), page(6 + index))
    report = reported(clean / "report.json")
    assert [entry["page"] for entry in report["pages"]] == [1, 1, 1, 1, 1, 2, 1, 2]
    first = report["pages"][0]
    assert first["input"] == str(scans / "a.png") and first["output"] == str(clean / "a.png")
    assert (first["task"], first["status"], first["engine"], first["calls"]) == ("clean", "cleaned", "none", 0)
    assert first["cer_before"] is None and first["seconds"] > 0
    summary = report["summary"]
    assert [summary[name] for name in ("pages", "cleaned", "kept", "failed")] == [8, 8, 0, 0]
    assert summary["pages_per_minute"] > 0 and summary["word_f_after"] is None


def test_finished_pages_are_not_done_again(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    Image.fromarray(page(0)).save(scan)
    assert docclean(weights, scan) == 0
    made, before = out.stat().st_mtime_ns, reported(tmp_path / "scan-clean-report.json")
    assert "done already" not in capsys.readouterr().out
    assert docclean(weights, scan) == 0
    assert "1 input done already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == made
    assert reported(tmp_path / "scan-clean-report.json") == before
    assert docclean(weights, scan, "--seed", 1) == 0
    other = tmp_path / "scan-clean-2.png"
    assert out.stat().st_mtime_ns == made and other.exists()
    assert reported(tmp_path / "scan-clean-report.json") == before
    assert reported(tmp_path / "scan-clean-report-2.json")["pages"][0]["output"] == str(other)
    Image.fromarray(page(1)).save(scan)
    assert docclean(weights, scan, "--seed", 1) == 0
    assert_lighter(pixels_of(other), page(1))
    assert out.stat().st_mtime_ns == made
    other_input = other.stat().st_mtime_ns
    assert docclean(weights, scan, "--seed", 1, "--force") == 0
    assert other.stat().st_mtime_ns != other_input and out.stat().st_mtime_ns == made
    assert sorted(path.name for path in tmp_path.glob("scan-clean*.png")) == ["scan-clean-2.png", "scan-clean.png"]


def test_a_page_judged_worse_keeps_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.fromarray(page(0, paper=255)).save(scans / "a.png", compress_level=1)
    Image.fromarray(page(1, paper=255)).save(scans / "b.jpg", quality=60)
    pages = [Image.fromarray(page(number, paper=255)) for number in (2, 3)]
    pages[0].save(scans / "c.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    make_pdf(scans / "d.pdf", page(4, paper=255))
    blank = lightening(tmp_path, 1.0)
    assert judged(blank, scans) == 0
    told = capsys.readouterr().out
    assert f"kept: {scans / 'a.png'}, " in told and f"kept: {scans / 'c.tif'} page 2, " in told
    assert f"In {tmp_path / 'scans-clean'}. Report: " in told
    for path in scans.iterdir():
        assert (tmp_path / "scans-clean" / path.name).read_bytes() == path.read_bytes()
    entries = reported(tmp_path / "scans-clean" / "report.json")["pages"]
    assert {entry["status"] for entry in entries} == {"kept"}
    assert all("would have changed" in entry["reason"] for entry in entries)
    assert judged(blank, scans, "--format", "pdf", "-o", tmp_path / "as-pdf") == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "as-pdf" / "c.pdf", 1), page(3, paper=255))
    assert docclean(blank, scans / "a.png", "-o", tmp_path / "blank.png") == 0
    assert pixels_of(tmp_path / "blank.png").min() > 255 * 0.99


@pytest.mark.parametrize("suffix", ["tiff", "pdf", "png", "jpg"])
def test_binarized_pages_take_one_bit_where_the_kind_has_it(tmp_path: Path, weights: Path, suffix: str) -> None:
    scan = make_pdf(tmp_path / "scan.pdf", page(0), page(1))
    arguments = [str(scan), "--ocr", "none", "--weights", str(weights), "--task", "binarize", "--format", suffix]
    assert main(["docclean", *arguments, "-o", str(tmp_path / "out")]) == 0
    if suffix in ("png", "jpg"):
        files = [tmp_path / "out" / f"scan-{number:04d}.{suffix}" for number in (1, 2)]
        entries = reported(tmp_path / "out" / "report.json")["pages"]
        assert [entry["output"] for entry in entries] == list(map(str, files))
        found = [pixels_of(path) for path in files]
        assert Image.open(files[0]).mode == ("1" if suffix == "png" else "L")
        assert ("one bit a pixel became 8" in (entries[0]["reason"] or "")) == (suffix == "jpg")
    else:
        found = [pixels_of(tmp_path / "out" / f"scan.{suffix}", index) for index in (0, 1)]
    for number, pixels in enumerate(found):
        np.testing.assert_array_equal(pixels > 127, page(number) > 100)
    if suffix == "tiff":
        assert Image.open(tmp_path / "out" / "scan.tiff").info["compression"] == "group4"


def test_a_pdf_keeps_its_text_pages_sizes_and_metadata(tmp_path: Path, weights: Path) -> None:
    scan = make_pdf(tmp_path / "book.pdf", page(0), page(1, (200, 100)))
    with pikepdf.open(scan, allow_overwriting_input=True) as pdf:
        text = pdf.add_blank_page(page_size=(300, 400))
        font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        text.add_resource(font, pikepdf.Name.Font, pikepdf.Name("/F"))
        text.Contents = pdf.make_stream(b"BT /F 12 Tf 20 200 Td (Real text stays real text) Tj ET")
        pdf.docinfo["/Title"] = "A book"
        pdf.save(scan)
    assert docclean(weights, scan) == 0
    with pikepdf.open(scan) as before, pikepdf.open(tmp_path / "book-clean.pdf") as after:
        assert after.docinfo["/Title"] == "A book"
        assert [list(each.mediabox) for each in after.pages] == [list(each.mediabox) for each in before.pages]
        assert after.pages[2].Contents.read_bytes() == before.pages[2].Contents.read_bytes()
    assert_lighter(pixels_of(tmp_path / "book-clean.pdf", 1), page(1, (200, 100)))
    statuses = [entry["status"] for entry in reported(tmp_path / "book-clean-report.json")["pages"]]
    assert statuses == ["cleaned", "cleaned", "kept"]


def test_bad_inputs_are_reported_and_the_others_cleaned(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.fromarray(page(0)).save(scans / "good.png")
    (scans / "cut.png").write_bytes((scans / "good.png").read_bytes()[:150])
    (scans / "empty.jpg").write_bytes(b"")
    (scans / "text.png").write_text("a letter")
    locked = make_pdf(scans / "locked.pdf", page(1))
    with pikepdf.open(locked, allow_overwriting_input=True) as pdf:
        pdf.save(locked, encryption=pikepdf.Encryption(owner="o", user="u"))
    assert docclean(weights, scans, "--json") == 4
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report == reported(tmp_path / "scans-clean" / "report.json")
    statuses = {Path(entry["input"]).name: entry["status"] for entry in report["pages"]}
    failing = {"cut.png", "empty.jpg", "locked.pdf", "text.png"}
    assert statuses == dict.fromkeys(sorted(failing), "failed") | {"good.png": "cleaned"}
    lines = told.err.splitlines()
    assert len(lines) == 4 and all(line.startswith("failed: ") for line in lines)
    assert sorted(path.name for path in (tmp_path / "scans-clean").glob("*.*g")) == ["good.png"]
    assert docclean(weights, scans / "text.png") == 2


def test_broken_weights_and_places_that_cannot_be_written(tmp_path: Path, weights: Path) -> None:
    scan = tmp_path / "scan.png"
    Image.fromarray(page(0)).save(scan)
    assert docclean(lightening(tmp_path, float("nan")), scan) == 2
    assert "NaN" in reported(tmp_path / "scan-clean-report.json")["pages"][0]["reason"]
    assert not (tmp_path / "scan-clean.png").exists()
    (tmp_path / "file").write_text("in the way")
    assert docclean(weights, scan, "-o", tmp_path / "file" / "out.png") == 5
    (tmp_path / "taken.png").write_text("somebody's")
    assert docclean(weights, scan, "-o", tmp_path / "taken.png") == 5
    assert (tmp_path / "taken.png").read_text() == "somebody's"
    before = scan.read_bytes()
    assert docclean(weights, scan, "-o", scan, "--force") == 2
    assert docclean(weights, tmp_path, "-o", tmp_path, "--force") == 2
    assert scan.read_bytes() == before and not (tmp_path / "report.json").exists()


def test_a_dry_run_lists_and_writes_nothing(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pdf(tmp_path / "scan.pdf", page(0), page(1))
    assert docclean(weights, tmp_path / "scan.pdf", "--dry-run") == 0
    told = capsys.readouterr().out
    assert "scan-clean.pdf (2 pages)" in told and "calls to other computers: none" in told
    assert [path.name for path in tmp_path.iterdir()] == ["scan.pdf"]


def test_several_processes_give_the_result_of_one(tmp_path: Path, weights: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        Image.fromarray(page(number)).save(scans / f"{number}.png")
    assert docclean(weights, scans, "-o", tmp_path / "one") == 0
    assert docclean(weights, scans, "-o", tmp_path / "two", "--jobs", 2) == 0
    for number in range(3):
        one, two = ((tmp_path / folder / f"{number}.png").read_bytes() for folder in ("one", "two"))
        assert one == two


def start(arguments: Sequence[object]) -> subprocess.Popen[bytes]:
    """Run the command in a process that Ctrl-C interrupts, even where this one, as a background job, is not."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from fastdiff.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.DEVNULL)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_whole_files_and_resumes(tmp_path: Path, weights: Path, sent: signal.Signals) -> None:
    scan = make_pdf(tmp_path / "scan.pdf", *(page(number, (1000, 800)) for number in range(3)))
    arguments = ["docclean", scan, "--ocr", "none", "--weights", weights, "--task", "clean", "--force-clean"]
    parts = tmp_path / ".fastdiff" / f"{output_manifest.digest('scan-clean.pdf')[:32]}.parts"
    process = start(arguments)
    while not (parts / "00000.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    code = process.wait()
    assert code == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "scan-clean.pdf").exists()
    first = (parts / "00000").stat().st_mtime_ns
    done = len(list(parts.glob("*.json")))
    assert 1 <= done < 3
    record = json.loads((parts / "00000.json").read_text())
    assert main([str(argument) for argument in arguments]) == 0
    assert reported(tmp_path / "scan-clean-report.json")["pages"][0] == record, "the first page was not done again"
    assert first and not parts.exists() and not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / ".fastdiff").glob("draft-*")) and not (tmp_path / ".fastdiff" / "lock").exists()
    for number in range(3):
        assert_lighter(pixels_of(tmp_path / "scan-clean.pdf", number), page(number, (1000, 800)))


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as `weights`, with numbers inside that float16 does not hold."""
    weights = load_file(lightening(tmp_path_factory.mktemp("weights"), LIGHTER))
    path = tmp_path_factory.mktemp("weights") / "overflowing.safetensors"
    save_file(weights | {"predictor.intro.weight": weights["predictor.intro.weight"] * 1e7}, path)
    return path


def test_a_page_that_overflows_in_a_given_precision_is_not_written(
    overflowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(page(0)).save(tmp_path / "a.png")
    assert docclean(overflowing, tmp_path / "a.png", "--dtype", "float16") == 2
    sentence = "the cleaning of the page overflows in float16, so there is no picture to write: give --dtype bfloat16"
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "a-clean.png").exists()


def test_a_page_of_many_that_overflows_stays_as_it_is(overflowing: Path, tmp_path: Path) -> None:
    source = make_pdf(tmp_path / "two.pdf", page(0), page(1))
    out = tmp_path / "out.pdf"
    assert docclean(overflowing, source, "--dtype", "float16", "-o", out) == 4
    pages = reported(tmp_path / "out-report.json")["pages"]
    assert all(each["status"] == "failed" and "overflows in float16" in each["reason"] for each in pages)
    assert (pixels_of(out) == pixels_of(source)).all()


def test_auto_cleans_a_page_in_a_wider_precision_and_reports_it(
    overflowing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that is fastest in float16, which this computer's processor is not."""
    monkeypatch.setattr(page_restorer, "precisions", lambda device, dtype: ("cpu", (torch.float16, torch.float32)))
    Image.fromarray(page(0)).save(tmp_path / "a.png")
    assert docclean(overflowing, tmp_path / "a.png") == 0
    (told,) = reported(tmp_path / "a-clean-report.json")["pages"]
    assert told["task_reason"] == "as asked; computed in float32: float16 overflows on it"
    assert_lighter(pixels_of(tmp_path / "a-clean.png"), page(0).astype(float))
