"""The regression suite of attack: the real command on photographs, with the bundled prior and classifier.

Run as a program it stores the quality that it measures, to be compared with from then on.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from fastdiff.cli.main import main

pytestmark = pytest.mark.slow

PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")
GOALS: dict[str, tuple[str, ...]] = {"untargeted": (), "targeted": ("--target", "toaster")}
SIDE = 299  # pixels, of the longer side
STORED = Path(__file__).parent / "stored.json"
TOLERANCE = {"ssim": 0.02, "ssim_p10": 0.04}  # processors differ in the last bits, and paths part from there


def attacked(folder: Path, goal: str) -> dict[str, Any]:
    """What is reported of every photograph, by its name."""
    source = folder / "photos"
    source.mkdir()
    for name in PHOTOS:
        picture = Image.fromarray(getattr(data, name)())
        picture.thumbnail((SIDE, SIDE))
        picture.save(source / f"{name}.png")
    assert main(["attack", str(source), "--out", str(folder / "out"), *GOALS[goal]]) == 0
    images = json.loads((folder / "out" / "report.json").read_text())["images"]
    return {Path(image["input"]).stem: image for image in images}


@pytest.fixture(scope="module", params=list(GOALS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    return request.param, attacked(tmp_path_factory.mktemp(request.param), request.param)


def stored(goal: str) -> dict[str, Any]:
    return json.loads(STORED.read_text())[goal]


def test_every_photograph_falls_that_fell(run: tuple[str, dict[str, Any]]) -> None:
    goal, images = run
    assert set(images) == set(PHOTOS)
    for name, told in stored(goal).items():
        assert images[name]["success_after_png"] >= told["success_after_png"], name
        assert images[name]["roundtrip_error"] <= 1e-5, name


@pytest.mark.parametrize("measure", TOLERANCE)
def test_pictures_stay_as_natural_as_stored(run: tuple[str, dict[str, Any]], measure: str) -> None:
    goal, images = run
    for name, told in stored(goal).items():
        assert images[name][measure] >= told[measure] - TOLERANCE[measure], name


def test_it_takes_no_more_calls(run: tuple[str, dict[str, Any]]) -> None:
    goal, images = run
    assert sum(image["calls"] for image in images.values()) <= 1.25 * sum(t["calls"] for t in stored(goal).values())


if __name__ == "__main__":
    kept = ("success_after_png", "calls", *TOLERANCE)
    numbers: dict[str, Any] = {}
    for goal in GOALS:
        with tempfile.TemporaryDirectory() as place:
            images = attacked(Path(place), goal)
        numbers[goal] = {name: {key: image[key] for key in kept} for name, image in images.items()}
    STORED.write_text(json.dumps(numbers, indent=1) + "\n")
    sys.stdout.write(STORED.read_text())
