"""Cleaned pages are reused where networks, OCR engine and true text have the same contents."""

import json
import shutil
from pathlib import Path

import easyocr_en_models
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from scans import lightening

from fastdiff.apps.docclean.identity import fingerprint
from fastdiff.apps.docclean.ocr.engine_version import engine_version
from fastdiff.apps.docclean.options import Options
from fastdiff.cli.main import main


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of one small network, which changes nothing."""
    folder = tmp_path / "weights"
    folder.mkdir()
    lightening(folder, 0.0)
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image = Image.new("L", (320, 120), 255)
    ImageDraw.Draw(image).text((20, 40), "fields to be filled in", 0, ImageFont.load_default(24))
    path = tmp_path / "scan.png"
    image.save(path)
    return path


def docclean(scan: Path, weights: Path, *more: object) -> int:
    return main(["docclean", str(scan), "--weights", str(weights), "--task", "clean", *map(str, more)])


def test_other_weights_of_the_same_name_clean_again(
    scan: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, (file,) = scan.with_name("scan-clean.png"), weights.iterdir()
    assert docclean(scan, weights, "--ocr", "none", "--force-clean") == 0
    before = np.asarray(Image.open(out)).astype(int)
    file.touch()
    assert docclean(scan, weights, "--ocr", "none", "--force-clean") == 0
    assert "1 input done already" in capsys.readouterr().out
    tensors = load_file(file)
    tensors["predictor.ending.bias"] -= 0.2
    save_file(tensors, file)
    assert docclean(scan, weights, "--ocr", "none", "--force-clean") == 0
    assert "done already" not in capsys.readouterr().out
    assert before[0, 0] - int(np.asarray(Image.open(out))[0, 0]) == pytest.approx(0.2 * 255, abs=1)


def test_another_true_text_scores_again_and_that_of_others_does_not(
    scan: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, report = scan.with_name("truth"), scan.with_name("scan-clean-report.json")
    truth.mkdir()
    (truth / "scan.txt").write_text("fields to be filled in")
    way = (scan, weights, "--ocr", "rapidocr", "--truth", truth)
    assert docclean(*way) == 0
    assert json.loads(report.read_text())["pages"][0]["wer_before"] < 0.5
    (truth / "other.txt").write_text("a page of another document")
    (truth / "scan.txt").touch()
    assert docclean(*way) == 0
    assert "1 input done already" in capsys.readouterr().out
    (truth / "scan.txt").write_text("nothing of the kind")
    assert docclean(*way) == 0
    assert "done already" not in capsys.readouterr().out
    assert json.loads(report.read_text())["pages"][0]["wer_before"] == 1.25  # four words for five


def test_models_of_easyocr_count_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fingerprint(Options(("x.png",)))
    copy = Path(shutil.copytree(easyocr_en_models.model_dir(), tmp_path / "models"))
    monkeypatch.setattr(easyocr_en_models, "model_dir", lambda: str(copy))
    assert fingerprint(Options(("x.png",))) == own
    with (copy / "english_g2.pth").open("r+b") as file:
        file.seek(1000)
        file.write(b"another weight")
    assert fingerprint(Options(("x.png",))) != own
    shutil.rmtree(copy)
    assert engine_version("easyocr") == engine_version("rapidocr") != ()


def test_trusted_digits_make_another_result() -> None:
    some, other = (Options(("x.png",), task="deblur", trust_digits=trusted) for trusted in (False, True))
    assert fingerprint(some) != fingerprint(other)


def test_the_data_of_tesseract_count_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the program is installed; without it the engine has no version."""
    installed = shutil.which("tesseract") is not None
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    (tmp_path / "eng.traineddata").write_bytes(b"some data")
    some = engine_version("tesseract")
    assert bool(some) is installed
    (tmp_path / "eng.traineddata").write_bytes(b"more data")
    assert (engine_version("tesseract") != some) is installed
