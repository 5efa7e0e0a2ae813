"""Finished attacks are reused where every classifier says what it said, whatever it is made of."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.apps.attack import logits
from fastdiff.apps.attack.options import Options
from fastdiff.apps.running.run import ADDED, request_digest
from fastdiff.cli.main import main

pytestmark = pytest.mark.slow

PGD = ("--method", "pgd", "--iterations", "2")
FUNCTIONS = """
import torch
def colours(x):
    "Its weights are read from a file in every call, so that no digest of code or parameters tells of them."
    return torch.load("gain.pt") * x.mean((2, 3))
def steady(x):
    return 30 * x.mean((2, 3))
def made():
    with open("made.txt", "a") as file:
        file.write("once\\n")
    return steady
def shaken(x):
    return steady(x) * (1 + 1e-6 * torch.rand(1))
def dropped(x):
    return steady(torch.nn.functional.dropout(x, 0.1))
"""
OWN = """
import torch
from pathlib import Path
from helper import preprocess
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
head = Path(__file__).with_name("head.pt")
if head.is_file():
    net.load_state_dict(torch.load(head))
def classify(x):
    return net(preprocess(x))
"""
RUN = "import sys; from fastdiff.cli.main import main; sys.exit(main(sys.argv[1:]))"
Attack = Callable[..., bool]


@pytest.fixture
def attack(photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Attack]:
    """Attacks the picture by functions of the folder that it is in; whether an earlier run had done that."""
    (photo.parent / "victims.py").write_text(FUNCTIONS)
    monkeypatch.chdir(photo.parent)
    gain(30)
    capsys.readouterr()

    def attack(classifier: str, *more: str, code: int = 0) -> bool:
        assert main(["attack", str(photo), "--classifier", f"module:victims:{classifier}", *PGD, *more]) == code
        return "1 input done already" in capsys.readouterr().out

    yield attack
    sys.modules.pop("victims", None)


def gain(value: float) -> None:
    torch.save(torch.tensor([value, value, value + 1]), "gain.pt")


def entry(photo: Path) -> Path:
    entries = (photo.parent / ".fastdiff").glob("*.json")
    return next(path for path in entries if json.loads(path.read_text())["output"] == "cat-attack.png")


def test_a_classifier_that_says_something_else_is_attacked_again(photo: Path, attack: Attack) -> None:
    assert [attack("colours"), attack("colours")] == [False, True]
    gain(29)
    assert [attack("colours"), attack("colours")] == [False, True]


def test_a_request_counts_options_by_the_names_of_earlier_versions() -> None:
    options = Options(("a.png",), epsilon=0.2)
    kept = [each for each in fields(options) if ADDED not in each.metadata]
    values = {"ball" if each.name == "epsilon" else each.name: getattr(options, each.name) for each in kept}
    earlier = make_dataclass("Earlier", values)(**values)
    assert request_digest("attack", options) == request_digest("attack", earlier)


def test_a_classifier_is_loaded_once(attack: Attack) -> None:
    assert not attack("made") and Path("made.txt").read_text().split() == ["once"]


def test_results_are_tried_again_on_a_classifier_that_says_something_else(photo: Path, attack: Attack) -> None:
    tried = ("--transfer", "module:victims:colours")
    assert [attack("steady", *tried), attack("steady", *tried)] == [False, True]
    gain(29)
    assert [attack("steady", *tried), attack("steady", *tried)] == [False, True]


def test_a_skipped_picture_is_looked_at_again(photo: Path, attack: Attack) -> None:
    report = photo.with_name("cat-attack-report.json")
    photo.with_name("labels.csv").write_text("image,true_label\ncat.png,2\n")
    labelled = ("--labels", "labels.csv")
    assert [attack("colours", *labelled), attack("colours", *labelled)] == [False, True]
    assert json.loads(report.read_text())["images"][0]["status"] == "skipped"
    torch.save(torch.tensor([0.0, 0.0, 30.0]), "gain.pt")
    assert [attack("colours", *labelled), attack("colours", *labelled)] == [False, True]
    assert json.loads(report.read_text())["images"][0]["status"] == "attacked"


def test_rounding_does_no_harm_and_chance_makes_results_again(photo: Path, attack: Attack) -> None:
    assert [attack("shaken"), attack("shaken")] == [False, True]
    assert [attack("dropped", code=4) for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize(
    "damage",
    [None, {}, [], {"victim": "AAAA"}, {"victim": ["", ""]}, {"victim": [1, 2]}, {"victim": ["é", "!"]}, "absent"],
    ids=str,
)
def test_a_record_without_whole_logits_is_not_reused(damage: Any, photo: Path, attack: Attack) -> None:
    attack("steady")
    content = json.loads(entry(photo).read_text())
    if damage == "absent":  # as earlier versions wrote it
        del content["records"][0]["logits"]
    else:
        content["records"][0]["logits"] = damage
    entry(photo).write_text(json.dumps(content))
    assert [attack("steady"), attack("steady")] == [False, True]


def test_what_is_stored_is_what_is_compared() -> None:
    said = torch.tensor([[1.0, -4.0, 2.5]])
    record = json.loads(json.dumps(logits.stored({"victim": [said, said * 2], "other": [said, said]})))
    now = {"victim": [said, said * 2], "other": [said, said]}
    assert logits.agree(record, now)
    assert logits.agree(record, now | {"other": [said, said + 3e-4]})
    assert not logits.agree(record, now | {"other": [said, said + 5e-4]}), "1e-4 of the largest, 4"
    assert not logits.agree(record, {"victim": now["victim"]})
    assert not logits.agree(record, now | {"other": [said]})
    assert not logits.agree(record, now | {"other": [said, said[:, :2]]})
    assert not logits.agree(logits.stored({"a": [said * np.nan]}), {"a": [said]})


def test_weights_and_helpers_that_a_function_loads_count(tmp_path: Path) -> None:
    """In processes of their own, as a person runs it: a module is only loaded once in each."""
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (tmp_path / "my_fn.py").write_text(OWN)
    (tmp_path / "helper.py").write_text("def preprocess(x): return 2 * x - 1\n")
    command = ("attack", "picture.png", "--classifier", "module:my_fn:classify", *PGD)

    def confidence(earlier: int) -> float:
        """As the report of one more run has it, in which so many were done already."""
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            (sys.executable, "-c", RUN, *command),
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.count("1 input done already") == earlier
        return json.loads((tmp_path / "picture-attack-report.json").read_text())["images"][0]["confidence_before"]

    first = confidence(0)
    assert confidence(1) == first
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8, 8))
    torch.save(net.state_dict(), tmp_path / "head.pt")
    second = confidence(0)
    assert second != first
    (tmp_path / "helper.py").write_text("def preprocess(x): return 3 * x - 1\n")
    assert confidence(0) not in (first, second)
