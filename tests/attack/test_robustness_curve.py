"""Curves of robust accuracy: one folder for every bound, one report for all."""

import json
from pathlib import Path

import pytest

from fastdiff.cli.main import main

WAY = ("--method", "pgd", "--epsilons", "12,2,4", "--iterations", "6")


@pytest.fixture
def labels(greys: Path) -> Path:
    """Labels of all pictures, of which the classifier gets the first wrong."""
    table = greys.parent / "labels.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1].replace(",0,", ",2,"), *lines[2:]]))
    return table


def test_a_curve_is_that_of_the_single_runs(
    greys: Path, colours: str, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = greys.parent / "curve"
    way = [str(greys), "--classifier", colours, "--labels", str(labels), *WAY, "-o", str(out)]
    assert main(["attack", *way, "--dry-run"]) == 0
    assert "63 pictures to attack" in capsys.readouterr().out and not out.exists()
    assert main(["attack", *way]) == 0
    shown = capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    fooled: set[str] = set()
    assert [point["epsilon_255"] for point in report["points"]] == [0, 2, 4, 12]
    assert report["points"][0]["right"] == 20
    for point in report["points"][1:]:
        single = json.loads((out / f"epsilon-{point['epsilon_255']:g}" / "report.json").read_text())
        images = [image for image in single["images"] if image["status"] == "attacked"]
        assert all(image["linf"] <= point["epsilon_255"] / 255 + 1e-6 for image in images)
        fooled |= {image["input"] for image in images if image["success_after_png"]}
        assert (point["right"], point["of"]) == (20 - len(fooled), 21)
        assert f"robust accuracy within {point['epsilon_255']:g}/255: {20 - len(fooled)} of 21 (95 %" in shown
    assert fooled and report["points"][-1]["right"] < report["points"][1]["right"]
    page = (out / "report.html").read_text()
    assert page.count("<circle") == 4 and "Robust accuracy within 12/255" in page
    assert main(["attack", *way]) == 0
    assert "63 inputs done already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("-o", "out", "--method", "natural"), "give --method pgd or mifgsm"),
        (("-o", "out", "--epsilon", "0.1"), "in place of --epsilon"),
        ((), "give the folder to put them into by --out"),
        (("-o", "out", "--epsilons", "2,0"), "above 0, to 255"),
        (("-o", "out", "--epsilons", "2,x"), "give numbers such as 2,4,8,16"),
        (("-o", "out", "--export-training-pairs", "pairs"), "give one of them"),
    ],
)
def test_other_curves_are_refused(
    photo: Path, change: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", str(photo), *WAY, *change]) == 2
    assert message in capsys.readouterr().err
