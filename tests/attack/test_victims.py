"""A zoo of classifiers whose robustness would be an artefact: each is refused, flagged or fooled, none called robust.

All are the network of the digits, which PGD fools with 23 of 24 pictures, with a fault around it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fastdiff.apps.attack.presets import PRESETS
from fastdiff.apps.attack.victim_examination import Specimen, depends_on_batch, examine
from fastdiff.apps.measures import wilson_interval
from fastdiff.cli.main import main
from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.solvers.errors import UsageError

ZOO = """
import collections, torch, torch.nn.functional as F
from digits_net import Net, build

class Wrapped(torch.nn.Module):
    side, names = 28, Net.names
    def __init__(self):
        super().__init__()
        self.net = build()
    def forward(self, x):
        return self.net(x)

class Quantiser(Wrapped):
    def forward(self, x):
        return self.net((x * 15).round() / 15)

class Detached(Wrapped):
    def forward(self, x):
        return self.net(torch.from_numpy(x.detach().cpu().numpy()))

class NoGradient(Wrapped):
    @torch.no_grad()
    def forward(self, x):
        return self.net(x)

class Clamped(Wrapped):
    def forward(self, x):
        return self.net(torch.nn.functional.hardtanh(x, 0, 1))  # clamp has a gradient at its ends before torch 2.14

class Scaled(Wrapped):
    def forward(self, x):
        return 1000 * self.net(x)

class Softmax(Wrapped):
    def forward(self, x):
        return self.net(x).softmax(1)

class NanGradient(Wrapped):
    def forward(self, x):
        return self.net(x) + 0 * (x - x).sum((1, 2, 3)).sqrt()[:, None]

class NanUnderNoise(Wrapped):
    def forward(self, x):
        return self.net(x) * torch.where(((x == 0) | (x == 1)).all(), 1.0, torch.nan)

class Dropout(Wrapped):
    def forward(self, x):
        return self.net(F.dropout(x, 0.3))

class TrainingMode(Wrapped):
    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.9)
        self.train()
    def forward(self, x):
        return self.net(self.dropout(x))

_training = TrainingMode()
def used(x):
    return _training(x)
def training_function(x):
    return used(x)
training_function.side, training_function.names = 28, Net.names

class RandomResize(Wrapped):
    def forward(self, x):
        side = int(torch.randint(22, 29, (1,)))
        small = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        return self.net(F.pad(small, (0, 28 - side, 0, 28 - side)))

class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        return -gradient

class Misleading(Wrapped):
    def forward(self, x):
        return self.net(Reversed.apply(x))

class Dynamic(Wrapped):
    def forward(self, x):
        return self.net(x.flip(3) if torch.is_grad_enabled() else x)

class Rippled(Wrapped):
    def forward(self, x):
        return self.net(x + 0.01 * torch.sin(1000 * x))

class RippledLogits(Wrapped):
    def forward(self, x):
        y = self.net(x)
        return y + torch.sin(1e4 * x.mean((1, 2, 3)))[:, None] * y / 10

class HardlyRippled(Wrapped):
    def forward(self, x):
        return self.net(x + 0.0003 * torch.sin(1000 * x))

class OfBatch(Wrapped):
    def forward(self, x):
        return self.net(x - x.mean(0, keepdim=True) * (len(x) > 1))

def double():
    return Wrapped().double()
def half():
    return Wrapped().half()
class HalfInside(Wrapped):
    def forward(self, x):
        return self.net(x.half())
def half_inside():
    return HalfInside().half()

class Tuple(Wrapped):
    def forward(self, x):
        return torch.arange(len(x)), (self.net(x), self.net(x)[:, :3])

class Mapping(Wrapped):
    def forward(self, x):
        return collections.OrderedDict(loss=x.sum((1, 2, 3)), logits=self.net(x))

class Deep(Wrapped):
    def forward(self, x):
        return self.net(x)[..., None, None]

class Names(Wrapped):
    names = {str(index): name for index, name in sorted(enumerate(Net.names), key=lambda pair: str(pair[0]))}

class Single(Wrapped):
    names = ("seven",)
    def forward(self, x):
        y = self.net(x)
        rest = torch.cat([y[:, :7], y[:, 8:]], 1).logsumexp(1)
        return y[:, 7] - rest

class Sigmoid(Single):
    def forward(self, x):
        return super().forward(x).sigmoid()[:, None]

class OwnSide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()
    def forward(self, x):
        return self.net(x)

class Grey(OwnSide):
    def forward(self, x):
        return self.net.n(x)
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the zoo, with six labelled digits."""
    digits = Path(__file__).parent / "digits"
    for name in ("digits_net.py", "digits.pt"):
        shutil.copy(digits / name, tmp_path / name)
    rows = (digits / "labels.csv").read_text().splitlines()[:7]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "pictures").mkdir()
    for row in rows[1:]:
        shutil.copy(digits / "pictures" / row.split(",")[0], tmp_path / "pictures")
    (tmp_path / "zoo.py").write_text(ZOO)
    monkeypatch.chdir(tmp_path)
    for name in ("zoo", "digits_net"):  # loaded anew, in the mode that they are written in
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def attack(victim: str, *more: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and the report; an empty one of a run that is refused."""
    way = ("--method", "pgd", "--epsilon", 0.3, "--step", 0.03, "--iterations", 20, "-o", "out", "--force")
    code = main(["attack", "pictures", "--classifier", f"module:zoo:{victim}", *map(str, (*way, *more))])
    report = Path("out/report.json")
    return code, json.loads(report.read_text()) if report.exists() else {}


LABELS = ("--labels", "labels.csv")


@pytest.mark.parametrize(
    ("victim", "remedy"),
    [
        ("Quantiser", "it rounds, thresholds or detaches"),
        ("Detached", "it rounds, thresholds or detaches"),
        ("NoGradient", "it rounds, thresholds or detaches"),
        ("Clamped", "only at black and white: it clamps there"),
        ("Scaled", "give --loss margin"),
        ("NanGradient", "gradients that are not finite numbers on 6 of 6"),
        ("NanUnderNoise", "not finite numbers on 6 of 6 examined pictures with noise of 8/255"),
    ],
)
def test_without_a_gradient_anywhere_it_is_refused(
    victim: str, remedy: str, zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = attack(victim, *LABELS)
    error = capsys.readouterr().err
    assert code == 2 and not report and remedy in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("victim", "flag"),
    [
        ("Dropout", "random"),
        ("RandomResize", "random"),
        ("Misleading", "misleading gradients"),
        ("Rippled", "shattered gradients"),
        ("RippledLogits", "shattered gradients"),
        ("Dynamic", "changes for gradients"),
    ],
)
def test_red_flags_stand_beside_every_rate(
    victim: str, flag: str, zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = attack(victim)
    assert code == 4
    assert flag in [each["name"] for each in report["victim"]["flags"]]
    summary = report["summary"]
    assert all(flag in rate["flags"] for rate in (summary, *summary["defences"].values()))
    lines = capsys.readouterr().out.strip().splitlines()
    assert f"RED FLAG, {flag}: " in "\n".join(lines)
    assert all("[RED FLAGS: " in line and flag in line for line in lines if "still fool" in line or line is lines[-1])


@pytest.mark.parametrize(
    "victim",
    ["Wrapped", "HardlyRippled", "Softmax", "TrainingMode", "training_function", "double", "half", "Tuple", "Mapping",
     "Deep", "Names", "OwnSide", "Grey"],
)  # fmt: skip
def test_what_can_be_attacked_is_fooled_as_the_plain_network_is(victim: str, zoo: Path) -> None:
    code, report = attack(victim, *LABELS)
    assert code == 0 and report["victim"]["flags"] == []
    assert report["summary"]["succeeded"] >= 5
    assert report["victim"]["clean_accuracy"]["right"] == 6


def test_a_network_that_computes_in_half_precision_is_fooled(zoo: Path) -> None:
    """Its gradients underflow where it is sure of a class, on some processors to zero: this is flagged."""
    code, report = attack("half_inside", *LABELS)
    assert report["summary"]["succeeded"] >= 5
    assert code in (0, 4) and len(report["victim"]["flags"]) == (code == 4)
    assert code == 0 or report["victim"]["flags"][0]["name"] == "zero gradients"


def test_files_stay_within_a_bound_that_is_no_multiple_of_a_level(zoo: Path) -> None:
    _, report = attack("Wrapped", "--epsilon", 0.03)
    assert [image["linf"] for image in report["images"]] == pytest.approx([7 / 255] * 6)


def test_one_logit_and_one_probability_are_two_classes(zoo: Path) -> None:
    pixels = torch.zeros(1, 3, 28, 28)
    single, sigmoid = (load_classifier(f"module:zoo:{name}") for name in ("Single", "Sigmoid"))
    assert single.names == sigmoid.names == ("not seven", "seven")
    assert (single.output_kind, sigmoid.output_kind) == ("logits", "probabilities")
    torch.testing.assert_close(single(pixels).softmax(1), sigmoid(pixels).softmax(1))
    code, report = attack("Single", "--target", "seven")
    assert code == 0 and report["summary"]["succeeded"] >= 1


@pytest.mark.parametrize(
    ("victim", "note"),
    [
        ("Softmax", "gives probabilities: their logarithms"),
        ("TrainingMode", "had Dropout in training mode: set to evaluation"),
        ("training_function", "had Dropout in training mode: set to evaluation"),
        ("half", "computes in float32, its weights are of float16"),
        ("half_inside", "computes in float16"),
        ("double", "computes in float64"),
        ("OwnSide", "takes pictures of 28 x 28 pixels alone"),
        ("Grey", "takes grey pictures"),
    ],
)
def test_what_was_found_out_is_said(victim: str, note: str, zoo: Path) -> None:
    target = load_classifier(f"module:zoo:{victim}")
    found = examine(target, [specimen(target)], PRESETS["pgd"], None)
    assert any(note in each for each in found.notes) and found.flags == ()


def specimen(target: ClassifierTarget) -> Specimen:
    generator = torch.Generator().manual_seed(0)
    return Specimen((torch.rand(1, 3, 28, 28, generator=generator) > 0.7).float(), None, None)


def test_scaled_logits_are_fooled_by_their_margin(zoo: Path) -> None:
    code, report = attack("Scaled", *LABELS, "--loss", "margin")
    assert code == 0 and report["summary"]["succeeded"] >= 5


def test_random_ones_are_attacked_and_judged_by_the_mean_of_draws(zoo: Path) -> None:
    code, report = attack("RandomResize", "--eot", 8)
    assert code == 0 and report["victim"]["random"] and report["victim"]["flags"] == []
    assert "means of 8 draws" in " ".join(report["victim"]["notes"])
    assert report["summary"]["succeeded"] >= 4


def test_logits_that_depend_on_others_of_the_batch(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack("OfBatch", "--batch", 3)[0] == 2
    assert "give --batch 1" in capsys.readouterr().err
    assert attack("OfBatch")[0] == 0
    plain = load_classifier("module:zoo:Wrapped")
    assert not depends_on_batch(plain, [specimen(plain)])


def test_a_picture_in_a_batch_is_judged_as_alone(zoo: Path) -> None:
    alone, together = (attack("Wrapped", *more)[1]["images"] for more in ((), ("--batch", 6)))
    for name in ("before", "after", "success_after_png", "confidence_before"):
        assert [image[name] for image in alone] == [image[name] for image in together]
    for image in alone:
        file = Image.open(image["output"])
        assert file.size == (28, 28) and image["linf"] <= 0.3


@pytest.mark.parametrize("value", [0, 255])
def test_saturated_pictures_are_fooled(value: int, zoo: Path) -> None:
    """A clamp inside the network, in place of the loss of its gradient, would hide this."""
    shutil.rmtree("pictures")
    Path("pictures").mkdir()
    Image.new("RGB", (28, 28), (value,) * 3).save("pictures/plain.png")
    assert attack("Clamped")[0] == 2
    code, report = attack("Wrapped", "--epsilon", 1, "--step", 0.1)
    assert code == 0 and report["summary"]["succeeded"] == 1


def test_a_text_that_is_the_name_of_one_class_and_the_index_of_another() -> None:
    folder = ClassifierTarget("net", torch.nn.Flatten(), Preprocessing(1), tuple(sorted(map(str, range(12)))))
    with pytest.raises(
        UsageError, match=r"two meanings: name:10 is the class with index 2, index:10 is the class named '8'"
    ):
        folder.label("10")
    assert (folder.label("name:10"), folder.label("index:10"), folder.label("1")) == (2, 10, 1)
    beyond = ClassifierTarget("net", torch.nn.Flatten(), Preprocessing(1), ("316", "242"))
    with pytest.raises(UsageError, match="name:242 is the class with index 1, index:242 is beyond its 2 classes"):
        beyond.label("242")
    assert ClassifierTarget("net", torch.nn.Flatten(), Preprocessing(1), numbered(12)).label("10") == 10


def test_wilson_intervals() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(179, 200) == pytest.approx((0.8448, 0.9303), abs=1e-3)
    assert wilson_interval(10, 10)[1] == 1
