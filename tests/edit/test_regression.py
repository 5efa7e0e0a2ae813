"""The regression suite of edit: the real command on the sample scenes and the bundled weights, against stored quality.

Stored numbers are of this suite's own settings: `python tests/edit/test_regression.py` writes those of new weights;
look at the pictures before.
"""

import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from fastdiff.apps.similarity import psnr
from fastdiff.cli.main import main
from fastdiff.models import fingerprint, recogniser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLES, BACKBONE, LORA = (ROOT / "data" / name for name in ("samples-edit", "scenes", "scenes-lcm"))
JUDGE = ROOT / "benchmarks" / "edit" / "judge.safetensors"  # trained apart from the recogniser that guides the attempts
STORED = Path(__file__).parent / "stored.json"
MEASURED = ("quick", "lcm", "speedup")  # presets: the default, and those of the distilled models
LARGEST = 30_000_000  # bytes of the backbone's folder
LARGEST_LORA = 5_000_000  # bytes of the file
ONE_LESS = 1  # edits found: processors differ in the last bits
TOLERANCE = 0.5  # dB
Qualities = tuple[dict[str, float], dict[str, float]]


def captions() -> dict[str, str]:
    return json.loads((SAMPLES / "captions.json").read_text())


def concept(caption: str) -> str:
    """Such as `fox` of `fox on a teal background`."""
    return caption.partition(" on a")[0]


def swaps() -> list[tuple[str, str, str]]:
    """Every sample's name, its caption, and the same caption with the next sample's concept."""
    told = captions()
    concepts = [concept(caption) for caption in told.values()]
    return [
        (name, caption, caption.replace(own, other, 1))
        for (name, caption), own, other in zip(told.items(), concepts, [*concepts[1:], concepts[0]], strict=True)
    ]


def edited(folder: Path, wishes: list[tuple[str, str, str]], *options: str) -> list[dict[str, Any]]:
    """The reports of one run over all wishes."""
    table = folder / "wishes.csv"
    with table.open("w", newline="") as file:
        rows = [(SAMPLES / name, prompt, source) for name, source, prompt in wishes]
        csv.writer(file).writerows([("input", "prompt", "source"), *rows])
    assert main(["edit", "--csv", str(table), "-o", str(folder / "out"), *options]) in (0, 4)
    return json.loads((folder / "out" / "report.json").read_text())["edits"]


def measured(folder: Path, preset: str) -> dict[str, float]:
    """Word swaps by a preset: how many another recogniser than the bundled one sees, and what is kept of the
    rest."""
    reports = edited(folder, swaps(), "--preset", preset)
    judge = recogniser.load(JUDGE)
    with torch.inference_mode():
        seen = [judge.read(picture(report["output"]))[0].concept for report in reports]
    return {
        "found": sum(concept(report["prompt"]) == told for report, told in zip(reports, seen, strict=True)),
        "psnr_unedited": float(np.mean([report["psnr_unedited"] or 0.0 for report in reports])),
        "codec_ceiling": float(np.mean([report["codec_ceiling"] for report in reports])),
    }


def picture(path: str | Path) -> torch.Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0)[None] / 127.5 - 1


@pytest.fixture(scope="module", params=MEASURED)
def qualities(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Qualities:
    """The measured and the stored numbers."""
    return measured(tmp_path_factory.mktemp("swaps"), request.param), json.loads(STORED.read_text())[request.param]


def test_words_are_swapped_as_often_as_stored(qualities: Qualities) -> None:
    now, stored = qualities
    assert now["found"] >= stored["found"] - ONE_LESS


@pytest.mark.parametrize("measure", ["psnr_unedited", "codec_ceiling"])
def test_what_is_kept_is_as_good_as_stored(qualities: Qualities, measure: str) -> None:
    now, stored = qualities
    assert now[measure] >= stored[measure] - TOLERANCE


def test_a_caption_that_stays_returns_the_very_pixels(tmp_path: Path) -> None:
    for report in edited(tmp_path, [(name, caption, caption) for name, caption in captions().items()]):
        assert torch.equal(picture(report["output"]), picture(report["input"])), report["input"]


def test_a_sample_is_recognised_without_being_told(tmp_path: Path) -> None:
    name, caption = "dog-face.png", captions()["dog-face.png"]
    wish = ["edit", str(SAMPLES / name), "--prompt", "fox on a blue background", "-o", str(tmp_path / "out.png")]
    assert main(wish) in (0, 4)
    (report,) = json.loads((tmp_path / "out-report.json").read_text())["edits"]
    assert report["source"] == caption and f"the input was taken for '{caption}'" in report["reason"]
    assert report["preset"] == "quick"  # of the bundled model


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("preset", ["quick", "dit4edit", "edit-friendly"])
def test_a_gpu_edits_and_inverts_as_the_processor_does(preset: str, tmp_path: Path) -> None:
    scene, how = str(SAMPLES / "dog-face.png"), ("--preset", preset, "--steps", "4", "--dtype", "float32")
    wish = ("--prompt", "fox on a red background", "--emphasize", "fox:1.5")
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.png"
        assert main(["edit", scene, *wish, *how, "--device", device, "--attempts", "1", "-o", str(out)]) == 0
        assert main(["invert", scene, *how, "--device", device, "-o", str(tmp_path / device)]) == 0
    assert psnr(picture(tmp_path / "cuda.png"), picture(tmp_path / "cpu.png")) > 40


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_samples_another_background_as_the_processor_does(tmp_path: Path) -> None:
    scene, how = str(SAMPLES / "dog-face.png"), ("--attempts", "1", "--dtype", "float32")
    for device in ("cpu", "cuda"):
        out = str(tmp_path / f"{device}.png")
        wish = ("--prompt", "dog face on a red background", "--device", device, "-o", out)
        assert main(["edit", scene, *wish, *how]) == 0
    assert psnr(picture(tmp_path / "cuda.png"), picture(tmp_path / "cpu.png")) > 40


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("cat on a blue background", "does not know the word 'cat' (near it: 'cat face')"),
        ("zebra on a blue background", "does not know the word 'zebra'"),
        ("dog face on a magenta background", "does not know the word 'magenta'"),
        ("dog face on a striped red background", "a background is of one colour, or of two colours and one of"),
    ],
)
def test_words_beyond_the_vocabulary_stop_the_edit_and_name_near_ones(
    wish: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["edit", str(SAMPLES / "dog-face.png"), "--prompt", wish, "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told and "--unknown-words goes on" in told
    assert main([*arguments, "--unknown-words", "--attempts", "1"]) in (0, 4)


def test_it_tries_again_while_something_is_missing_and_says_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, caption = "dog-face.png", captions()["dog-face.png"]
    wishes = [(name, caption, "fox on a red background")]
    lacking = [
        "the recogniser does not see 'fox'",
        "its shape is not that of 'fox'",
        "a red background is not seen",
    ]
    for options, attempts in (((), 1), (("--attempts", "3"), 3)):
        folder = tmp_path / str(attempts)
        folder.mkdir()
        (report,) = edited(folder, wishes, "--guidance", "0", *options)  # which changes nothing
        assert report["attempts"] == attempts and report["calls"] == 9 * attempts
        assert report["missing"] == lacking and report["status"] == "partly edited"
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("0 edited, 1 partly edited, 0 failed.") and " and ".join(lacking) in last
    assert main(["edit", str(SAMPLES / name), "--prompt", wishes[0][2], "--guidance", "0", "-o", str(tmp_path)]) == 4
    (report,) = edited(tmp_path, [(name, caption, caption)])
    assert report["attempts"] == 1 and report["reason"] is None and report["missing"] == []
    assert report["status"] == "edited"


def test_photographs_are_turned_away_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    assert main(["edit", str(tmp_path / "cat.png"), "--prompt", "fox on a teal background"]) == 2
    assert "unlike what the bundled model was trained on" in capsys.readouterr().err


def test_the_lora_of_the_backbone_says_what_it_is() -> None:
    card = json.loads((LORA / "card.json").read_text())
    ((name, digest),) = card["sha256"].items()
    content = (LORA / name).read_bytes()
    assert len(content) == card["bytes"] < LARGEST_LORA and hashlib.sha256(content).hexdigest() == digest
    assert card["base"] == {"name": "scenes", "fingerprint": fingerprint.of_folder("scenes")}
    assert card["licence"] == "Apache-2.0" and card["recipe"] and card["scores"]


def test_the_backbone_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in BACKBONE.rglob("*") if file.is_file()) <= LARGEST
    card = json.loads((BACKBONE / "card.json").read_text())
    assert card["licence"] == "Apache-2.0" and card["recipe"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folders = {preset: Path(temporary) / preset for preset in MEASURED}
        for folder in folders.values():
            folder.mkdir()
        numbers = {preset: measured(folder, preset) for preset, folder in folders.items()}
        STORED.write_text(json.dumps(numbers, indent=1) + "\n")
    sys.stdout.write(STORED.read_text())
