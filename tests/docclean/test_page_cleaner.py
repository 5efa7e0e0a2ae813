"""Tests of pages through networks, guard, word comparison and verdict: content that goes back or stays."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from scans import docclean, judged, lightening, striped

from fastdiff.apps.docclean.imaging.regions import RecoveredWord, Region
from fastdiff.apps.docclean.ocr import engines
from fastdiff.apps.docclean.ocr.engines import Engine, Fragment, Reading
from fastdiff.apps.docclean.ocr.page_verdict import is_well_read
from fastdiff.apps.docclean.options import Options
from fastdiff.apps.docclean.page_cleaner import PageCleaner
from fastdiff.apps.docclean.report import PageReport, Report, join_reports, read_page_report
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.cli.main import main
from fastdiff.models.restorers import bundled
from fastdiff.solvers.errors import MissingError, UsageError

pytestmark = pytest.mark.slow

LIGHTER = 0.1
PRICE = "4,250.75"
NUMBERS = (  # printed in the first three columns of TABLE
    *("91644-361", "95062-153", "85227-355", "19428-242", "31821-396", "49162-122", "89050-700", "50116-592"),
    *("5974.88", "2669.14", "314.93", "7388.16", "5238.25", "6017.53", "155.76", "5273.23"),
    *("27.12.2026", "12.08.2017", "07.07.2018", "05.01.2010", "18.11.2016", "06.03.2018", "22.12.2020", "16.08.2015"),
)
UNSHARPENED = ("H45300 -> H4530O",)  # a code in a line that goes back, because it was surer read before
TABLE = Path(__file__).parent / "images" / "digits-blurred.png"  # 4 columns of numbers, dates and codes, 8 rows


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = engines.load_engine("rapidocr", "cpu")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), LIGHTER)


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    """Three lines of words on white, a price among them."""
    pixels = np.full((190, 620), 255, np.uint8)
    for row, line in enumerate(("The committee met again", f"The sum of {PRICE} was paid", "Letters from residents")):
        cv2.putText(pixels, line, (20, 50 + 50 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 20, 2, cv2.LINE_AA)
    return pixels


def test_shapes_of_strokes_stay_and_nothing_has_to_go_back(engine: Engine, weights: Path, page: np.ndarray) -> None:
    """The network makes all ink paler; what is written is about as dark as it was."""
    cleaned = PageCleaner(PageRestorer(task="clean", device="cpu", weights=weights), engine)(page, 0)
    assert cleaned.status == "cleaned" and cleaned.engine == "rapidocr" and cleaned.reason is None
    changed = np.abs(cleaned.pixels.astype(int) - page)
    assert not cleaned.regions and changed.max() <= LIGHTER * 255 and np.quantile(changed, 0.99) <= 8


def test_deblurring_writes_what_the_page_shows_whatever_the_network_draws(
    engine: Engine, weights: Path, page: np.ndarray
) -> None:
    """The network makes all ink paler; the page contradicts it."""
    cleaned = PageCleaner(PageRestorer(task="deblur", device="cpu", weights=weights), engine)(page, 0)
    assert cleaned.status != "kept" and not [region for region in cleaned.regions if region.decision == "put back"]
    ink = page < 100
    assert cleaned.pixels[ink].mean() == pytest.approx(page[ink].mean(), abs=8)
    assert PRICE in engine.read(cleaned.pixels).text


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return np.asarray(Image.open(TABLE))


def test_numbers_of_a_blurred_table_are_the_linearly_sharpened_ones(engine: Engine, table: np.ndarray) -> None:
    """The bundled network takes 8 for 0 there."""
    restore = PageRestorer(task="deblur", device="cpu")
    cleaned, restored_page = PageCleaner(restore, engine)(table, 0), restore(table, 0)
    assert restored_page.deconvolved is not None
    digits = [region for region in cleaned.regions if region.cause == "digits"]
    assert len(digits) == 32 and all(region.decision == "put back" for region in digits)
    for left, top, right, bottom in (region.box for region in digits if region.text not in UNSHARPENED):
        sharpened, written = (
            pixels[top:bottom, left:right].astype(float).ravel()
            for pixels in (restored_page.deconvolved.sharpened, cleaned.pixels)
        )
        assert np.corrcoef(sharpened, written)[0, 1] > 0.99
    assert cleaned.pixels[:5].min() > 240  # the paper around is clean


def test_numbers_of_a_blurred_table_read_better_than_before(engine: Engine, table: np.ndarray) -> None:
    """The engine of the gate reads this table as it is, and easyocr only a sharper one."""
    judge = engines.load_engine("easyocr", "cpu")
    assert judge is not None
    cleaned = PageCleaner(PageRestorer(task="deblur", device="cpu"), engine)(table, 0).pixels
    before, after = (judge.read(pixels).text.split() for pixels in (table, cleaned))
    assert sum(number in before for number in NUMBERS) <= 2
    assert sum(number in after for number in NUMBERS) >= 8
    assert sum(number in engine.read(cleaned).text for number in NUMBERS) >= len(NUMBERS) - 1


def test_trusted_digits_are_written_as_the_page_and_the_network_show_them(engine: Engine, table: np.ndarray) -> None:
    cleaned = PageCleaner(PageRestorer(task="deblur", device="cpu"), engine, trust_digits=True)(table[:120], 0)
    assert cleaned.status == "cleaned"
    assert {region.decision for region in cleaned.regions if region.cause == "digits"} <= {"left"}


def test_digits_are_trusted_in_deblurring_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Options((TABLE.name,), task="deblur", trust_digits=True).trust_digits
    with pytest.raises(UsageError, match="give it with --task deblur"):
        Options((TABLE.name,), trust_digits=True)
    assert main(["docclean", str(TABLE), "--trust-digits", "-o", str(tmp_path / "out.png")]) == 2
    assert "--trust-digits lets deblurring rewrite digits: give it with --task deblur" in capsys.readouterr().err


def test_auto_deblurs_what_an_engine_can_check_and_cannot_read() -> None:
    """The table is blurred, whoever looks at it."""
    table = np.asarray(Image.open(TABLE))[:120]
    restore = PageRestorer(device="cpu")

    def read(confidence: float) -> Reading:
        return Reading(((Fragment("Letters from residents were read aloud", confidence, (0, 0, 9, 9)),),), 0.0)

    assert restore(table, 0, read(0.4)).task == "deblur"
    unread, known = restore(table, 0), restore(table, 0, read(0.95))
    assert unread.task == known.task == "clean"
    assert unread.task_reason.endswith("not deblurred: without OCR nothing checks the characters")
    assert known.task_reason.endswith("not deblurred: it can be read as it is")
    assert not is_well_read(Reading(((Fragment("Lcttcrs frcm rcsidcnts wcrc rcad alcud", 0.95, (0, 0, 9, 9)),),), 0.0))


def test_deblurring_without_ocr_says_that_characters_may_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.asarray(Image.open(TABLE))[:120]).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "--ocr", "none", "--force-clean"]
    assert main(["docclean", *arguments, "--task", "deblur"]) == 0
    assert capsys.readouterr().out.count("characters may have changed on 1 page deblurred without OCR") == 1
    (told,) = json.loads((tmp_path / "a-clean-report.json").read_text())["pages"]
    assert told["task"] == "deblur" and "characters may have changed" in told["reason"]
    assert main(["docclean", *arguments, "--task", "clean", "--force"]) == 0
    assert "characters may have changed" not in capsys.readouterr().out


def test_pages_that_lose_their_content_are_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    white = lightening(tmp_path, 1.0)
    Image.fromarray(striped()).save(tmp_path / "a.png")
    assert judged(white, tmp_path / "a.png") == 0
    (told,) = json.loads((tmp_path / "a-clean-report.json").read_text())["pages"]
    assert told["status"] == "kept" and "of it would have changed" in told["reason"]
    assert told["regions"] and (tmp_path / "a-clean.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert "1 page: 0 cleaned, 0 partly cleaned, 1 kept, 0 failed" in capsys.readouterr().out
    assert docclean(white, tmp_path / "a.png", "-o", tmp_path / "forced.png") == 0
    (told,) = json.loads((tmp_path / "forced-report.json").read_text())["pages"]
    assert told["status"] == "cleaned" and {region["decision"] for region in told["regions"]} == {"left"}


def test_dim_pages_that_lose_their_content_get_even_light_alone(tmp_path: Path) -> None:
    white, page = lightening(tmp_path, 1.0), striped(ink=40, paper=200)
    Image.fromarray(page).save(tmp_path / "a.png")
    assert judged(white, tmp_path / "a.png") == 0
    (told,) = json.loads((tmp_path / "a-clean-report.json").read_text())["pages"]
    assert told["status"] == "partly cleaned" and told["reason"].startswith("only its light was evened out: ")
    assert [(region["box"], region["cause"]) for region in told["regions"]] == [([0, 0, 160, 120], "all but the light")]
    lit = np.asarray(Image.open(tmp_path / "a-clean.png")).astype(float)
    assert np.abs(lit - np.minimum(page * (255 / 200), 255)).max() <= 2


def test_partly_cleaned_pages_are_written_reported_and_reused(
    table: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    page = table[:190]
    Image.fromarray(page).save(scan, save_all=True, append_images=[Image.fromarray(np.full_like(page, 200))])
    command = ["docclean", str(scan), "--ocr", "rapidocr", "--task", "deblur"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"partly cleaned: {scan} page 1, kept as it came in " in printed and ": numbers" in printed
    assert "2 pages: 1 cleaned, 1 partly cleaned, 0 kept, 0 failed" in printed
    text = (tmp_path / "scan-clean-report.json").read_text()
    report = json.loads(text)
    assert report["summary"]["partly_cleaned"] == 1
    region = report["pages"][0]["regions"][0]
    assert f'"box": {json.dumps(region["box"])},' in text  # in one line
    assert (np.asarray(Image.open(out)) != page).any()
    assert main(command) == 0
    assert "1 input done already" in capsys.readouterr().out
    assert json.loads((tmp_path / "scan-clean-report.json").read_text()) == report


def test_a_page_of_several_pictures_has_the_regions_of_all() -> None:
    first = PageReport("a.pdf", 1, status="cleaned", recovered=(RecoveredWord((1, 2, 3, 4), "river"),))
    second = PageReport("a.pdf", 1, status="partly cleaned", regions=(Region((5, 6, 7, 8), "digits", "put back"),))
    third = PageReport("a.pdf", 1, status="kept", reason="already clean")
    page = join_reports([first, third, second])
    assert page.status == "partly cleaned" and page.reason == "picture 2 of 3: already clean"
    assert page.regions == second.regions and page.recovered == first.recovered
    report = Report((page,), 0, Path("report.json"), 0, ())
    assert read_page_report(json.loads(report.to_json())["pages"][0]) == page


def test_pages_with_colour_take_the_colour_network() -> None:
    """Which has no denoiser, unlike that of grey pages."""
    grey = np.full((100, 160, 3), 230, np.uint8)
    grey[40:44, 20:140] = 60
    stamped = grey.copy()
    stamped[60:66, 20:80] = (200, 40, 60)
    restore = PageRestorer(task="clean", device="cpu", calls=1)
    assert restore(grey, 0).calls == restore(grey[..., 0], 0).calls == 1
    with pytest.raises(MissingError, match=r"docclean-colour\.safetensors holds no denoiser: give --calls 0"):
        restore(stamped, 0)
    assert PageRestorer(task="clean", device="cpu")(stamped, 0).pixels.shape == stamped.shape


def test_a_denoiser_of_other_channels_than_the_predictor_is_refused(tmp_path: Path) -> None:
    colour, grey = load_file(bundled("colour")), load_file(bundled("clean"))
    denoiser = {name: value for name, value in grey.items() if name.startswith("denoiser.")}
    predictor = {name: value for name, value in colour.items() if name.startswith("predictor.")}
    save_file(predictor, tmp_path / "predictor.safetensors")
    save_file(denoiser, tmp_path / "denoiser.safetensors")
    with pytest.raises(UsageError, match="1 channels and its predictor 3"):
        PageRestorer(task="clean", device="cpu", weights=tmp_path, calls=1)(np.full((60, 60), 200, np.uint8), 0)
