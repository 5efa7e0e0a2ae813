"""Files that attack writes: each in a place of its own, nobody else's replaced, none of an earlier network."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdiff.apps.attack import photo as photos
from fastdiff.apps.attack.identity import fingerprint, of_classifier
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.report import AttackReport, Trial
from fastdiff.cli.main import main
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.solvers.errors import UsageError


def attack(*arguments: object) -> int:
    """A fast one, which succeeds."""
    way = ("--method", "pgd", "--iterations", 20, "--epsilon", 1, "--step", 0.05)
    return main(["attack", *map(str, (*arguments, *way))])


def test_differences_replace_no_attacked_pictures(photo: Path, colours: str) -> None:
    shutil.copy(photo, photo.with_name("cat-difference.png"))
    shutil.copy(photo, photo.with_name("report-sheet.png"))
    out = photo.parent / "out"
    assert attack(photo.parent, "--classifier", colours, "-o", out) == 0
    images = json.loads((out / "report.json").read_text())["images"]
    files = [image[name] for image in images for name in ("output", "difference")]
    assert len({*files, str(out / "report-sheet-2.png")}) == 7 and all(Path(file).exists() for file in files)
    assert Image.open(out / "report-sheet-2.png").width > 600
    for image in images:
        assert json.loads(Image.open(image["output"]).info["fastdiff"])["input"] == Path(image["input"]).name


def test_sheets_of_others_stay(photo: Path, colours: str) -> None:
    sheet = photo.with_name("cat-attack-report-sheet.png")
    sheet.write_text("mine")
    for _ in range(2):
        assert attack(photo, "--classifier", colours) == 0
        assert sheet.read_text() == "mine"
        assert Image.open(photo.with_name("cat-attack-report-sheet-2.png")).format == "PNG"
        assert not photo.with_name("cat-attack-report-sheet-3.png").exists()


def test_pairs_replace_those_of_an_earlier_run_of_the_same_command_alone(
    greys: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out, few = greys.parent / "pairs", greys.parent / "out", greys.parent / "few"
    few.mkdir()
    for number in range(3):
        shutil.copy(greys / f"{number:02d}.png", few)
    way = (few, "--classifier", colours, "-o", out, "--export-training-pairs", pairs)
    (pairs / "clean").mkdir(parents=True)
    (pairs / "clean" / "00000.png").write_text("mine")
    assert attack(*way) == 5
    assert "clean/00000.png exists and is no earlier result" in capsys.readouterr().err
    assert (pairs / "clean" / "00000.png").read_text() == "mine" and not out.exists()
    assert [path.name for path in pairs.iterdir()] == ["clean"]
    shutil.rmtree(pairs)
    for count in (3, 2):
        assert attack(*way) == 0
        assert len(list(pairs.glob("*/*.png"))) == 2 * count
        assert len((pairs / "pairs.csv").read_text().splitlines()) == 1 + count
        (few / "02.png").unlink(missing_ok=True)
    before = (pairs / "clean" / "00000.png").read_bytes()
    assert attack(*way, "--seed", 1) == 5 and (pairs / "clean" / "00000.png").read_bytes() == before


def test_pairs_that_cannot_be_written_stop_a_run_before_it_works(photo: Path, colours: str) -> None:
    (photo.parent / "taken").write_text("a file")
    assert attack(photo, "--classifier", colours, "--export-training-pairs", photo.parent / "taken") == 5
    assert {path.name for path in photo.parent.iterdir()} >= {"cat.png", "taken"}
    assert not list(photo.parent.glob("cat-attack*")) and not (photo.parent / ".fastdiff").exists()


def test_fingerprints_are_of_what_names_stand_for(prior: Path, tmp_path: Path, colours: str) -> None:
    folder = Path(shutil.copytree(prior, tmp_path / "prior"))
    options = Options(("x.png",), model=str(folder))
    before = fingerprint(options, [])
    assert fingerprint(options, []) == before
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert fingerprint(options, []) != before

    classifier = load_classifier(colours)
    assert classifier.code is not None and classifier.code.name == "colour_net.py"
    before = of_classifier(classifier)
    assert of_classifier(load_classifier(colours)) == before
    edited = tmp_path / "edited.py"
    edited.write_text(classifier.code.read_text() + "\n")
    assert of_classifier(replace(classifier, code=edited)) != before


def test_pictures_that_would_not_fit_into_memory(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5000, 5001), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(UsageError, match=r"large\.png has 25 megapixels: at most 25"):
        photos.read(tmp_path / "large.png")


def test_failures_lie_apart_and_do_not_say_that_they_are_adversarial(
    photo: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way = ("--classifier", colours, "--method", "pgd", "-r")
    none, most = ("--epsilon", 0), ("--epsilon", 1, "--step", 0.05)
    run = [main(["attack", *map(str, (photo.parent, *way, *more))]) for more in (none, most)]
    assert run == [0, 0]
    out = photo.parent.with_name(f"{photo.parent.name}-attack")
    failed, succeeded = out / "failed" / "cat.png", out / "cat-2.png"
    assert {path.name for path in failed.parent.iterdir()} == {"cat.png", "cat-difference.png"}
    assert b"adversarial" not in failed.read_bytes() and b"adversarial" in succeeded.read_bytes()
    capsys.readouterr()
    assert main(["attack", *map(str, (photo.parent, *way, *none))]) == 0
    assert "1 input done already" in capsys.readouterr().out
    assert main(["attack", *map(str, (out, *way, *most, "-o", photo.parent / "again"))]) == 2
    assert "4 earlier results" in capsys.readouterr().err or not (photo.parent / "again").exists()


def test_means_are_of_successes_with_those_of_all_apart(photo: Path, colours: str) -> None:
    folder, out = photo.parent / "plain", photo.parent / "out"
    folder.mkdir()
    Image.new("RGB", (40, 40), (120, 126, 120)).save(folder / "a.png")
    Image.new("RGB", (40, 40), (200, 90, 90)).save(folder / "b.png")
    assert main(["attack", str(folder), "--classifier", colours, "--method", "pgd", "-o", str(out)]) == 0
    content = json.loads((out / "report.json").read_text())
    images, summary = content["images"], content["summary"]
    assert [image["success_after_png"] for image in images] == [True, False]
    assert summary["psnr"] == pytest.approx(images[0]["psnr"])
    assert summary["of_all_attacked"]["psnr"] == pytest.approx((images[0]["psnr"] + images[1]["psnr"]) / 2)
    assert summary["interval_95"] == pytest.approx([0.0945, 0.9055], abs=1e-3), "Wilson's of 1 in 2"


def test_records_of_earlier_versions_that_measured_less_are_read() -> None:
    record = asdict(AttackReport("cat.png", ssim=0.9, transfer={"other": Trial(True, False)}))
    earlier = {name: value for name, value in record.items() if name != "low_frequencies"}
    assert AttackReport.read(earlier) == AttackReport("cat.png", ssim=0.9, transfer={"other": Trial(True, False)})
