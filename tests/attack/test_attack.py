"""`fastdiff attack` on real files: the bundled classifier, and a tiny prior of random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastdiff.cli.main import main


def attack(*arguments: object) -> int:
    return main(["attack", *map(str, arguments)])


def report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def distance(a: Path, b: Path) -> float:
    return float(np.abs(pixels(a).astype(int) - pixels(b)).max() / 255)


def told(photo: Path) -> dict[str, Any]:
    (image,) = report(photo.with_name("cat-attack-report.json"))["images"]
    return image


def test_an_attack_end_to_end(photo: Path, prior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack(photo, "--model", prior) == 0
    image, out = told(photo), photo.with_name("cat-attack.png")
    assert image["status"] == "attacked" and image["success"] and image["success_after_png"]
    assert image["after"] != image["before"] == image["true"] and image["after_name"] != image["before_name"]
    assert image["roundtrip_error"] < 1e-5 and image["calls"] > 4 and image["caption"] is None
    assert "hears no words" in image["reason"]
    assert 0.9 < image["ssim"] < 1 and image["linf"] == distance(photo, out)
    assert pixels(out).shape == pixels(photo).shape
    assert set(image["defences"]) == {"jpeg-75", "bit-depth-4", "resize-pad"}
    summary = report(photo.with_name("cat-attack-report.json"))["summary"]
    assert (summary["succeeded"], summary["of"], summary["attack_success_rate"]) == (1, 1, 1.0)
    record = json.loads(Image.open(out).info["fastdiff"])
    assert record["adversarial"] is True and record["classifier"] == "efficientnet-lite0" and record["settings"]
    assert photo.with_name("cat-attack-report-sheet.png").exists()
    assert pixels(photo.with_name("cat-attack-difference.png")).shape == pixels(photo).shape
    assert "1 of 1 succeeded" in capsys.readouterr().out
