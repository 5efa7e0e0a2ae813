"""Every process of a run loads the attacked classifier once, and the one that starts them none."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from fastdiff.cli.main import main

COUNTED = """
import os
from pathlib import Path
from colour_net import Colours
def build():
    with Path("loads").open("a") as loads:
        loads.write(f"{os.getpid()}\\n")
    return Colours()
"""


def loads(folder: Path, jobs: int) -> list[int]:
    """The processes that loaded the classifier in a run on three pictures, one entry for each time."""
    (folder / "loads").write_text("")
    way = ["--classifier", "module:counted_net:build", "--method", "pgd", "--iterations", "2", "--step", "0.1"]
    assert main(["attack", "pictures", *way, "--jobs", str(jobs), "-o", f"out-{jobs}"]) == 0
    return [int(line) for line in (folder / "loads").read_text().split()]


@pytest.fixture
def folder(colours: str, tmp_path: Path) -> Path:
    (tmp_path / "counted_net.py").write_text(COUNTED)
    (tmp_path / "pictures").mkdir()
    for name, colour in (("a", (120, 110, 100)), ("b", (100, 120, 110)), ("c", (100, 110, 120))):
        Image.new("RGB", (32, 32), colour).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


@pytest.mark.slow
def test_a_classifier_loads_once_in_every_process(folder: Path) -> None:
    alone, together = loads(folder, 1), loads(folder, 2)
    assert alone == [os.getpid()]
    assert together and len(set(together)) == len(together) and os.getpid() not in together
    reports = [json.loads((folder / f"out-{jobs}" / "report.json").read_text()) for jobs in (1, 2)]
    assert reports[0]["victim"] == reports[1]["victim"]
    verdicts = [[image["confidence_after"] for image in report["images"]] for report in reports]
    assert verdicts[0] == pytest.approx(verdicts[1]) and None not in verdicts[0]
    assert len(loads(folder, 2)) == 1  # all is finished: the plan alone needs it


def test_an_error_of_the_plan_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    way = ["--classifier", "module:counted_net:build", "--method", "pgd", "--target", "purple", "--jobs", "2"]
    assert main(["attack", "pictures", *way]) == 2
    error = capsys.readouterr().err
    assert "has no class 'purple'" in error and "Traceback" not in error
