"""Attacks on pictures in memory: against torchattacks, on Datasets and DataLoaders, and on models of foolbox."""

import copy
import csv
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import foolbox
import pytest
import torch
import torchattacks
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms.functional import to_tensor

from fastdiff.apps.attack import PRESETS, Attack, Result, attack
from fastdiff.apps.measures import wilson_interval
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.solvers.errors import UsageError

DIGITS = Path(__file__).parent / "digits"
BOUNDS: dict[str, Any] = {"epsilon": 77 / 255, "step": 8 / 255, "iterations": 20}


def build() -> nn.Module:
    path = str(DIGITS / "digits_net.py")
    return runpy.run_path(path)["build"]().eval()


@pytest.fixture
def net() -> nn.Module:
    return build()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Twenty-four pictures (24, 3, 28, 28), and their classes."""
    with (DIGITS / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = [to_tensor(Image.open(DIGITS / "pictures" / row["image"]).convert("RGB")) for row in rows]
    return torch.stack(pictures), torch.tensor([int(row["true_label"]) for row in rows])


@pytest.fixture(scope="module")
def pgd(digits: tuple[Tensor, Tensor]) -> Result:
    return attack(build(), *digits, method="pgd", **BOUNDS)


def test_pixels_are_those_of_torchattacks(net: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.PGD(net, eps=77 / 255, alpha=8 / 255, steps=20, random_start=False)(*digits)
    ours = Attack(net, "pgd", **BOUNDS)(*digits)
    assert torch.equal((theirs * 255).round(), (ours * 255).round())


def test_the_result_agrees_with_the_network(net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result) -> None:
    pictures, labels = digits
    seen = net(pgd.adversarial).argmax(1)
    assert torch.equal(seen, pgd.after) and torch.equal(pgd.success, seen != labels)
    assert (pgd.adversarial - pictures).abs().max() <= 77 / 255 + 1e-6
    assert torch.equal((pgd.adversarial * 255).round() / 255, pgd.adversarial)
    robust, right = int((seen == labels).sum()), pgd.summary["robust_accuracy"]
    assert (right["right"], right["of"]) == (robust, 24)
    assert right["interval_95"] == wilson_interval(robust, 24)
    assert pgd.summary["succeeded"] == 24 - robust > 20
    assert pgd.naturalness[0].linf == pytest.approx(float((pgd.adversarial - pictures)[0].abs().max()), abs=1e-3)


def test_bounds_hold_around_colours_between_those_of_8_bits(net: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pictures, labels = digits
    between = (pictures * 0.9 + 0.0313).clamp(0, 1)
    adversarial = Attack(net, "pgd", epsilon=8 / 255, step=2 / 255)(between, labels)
    assert (adversarial - between).abs().max() <= 8 / 255 + 1e-6


def test_datasets_and_loaders_are_read_in_their_order(
    net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result
) -> None:
    data = TensorDataset(*digits)
    for images in (data, DataLoader(data, batch_size=7)):
        found = attack(net, images, method="pgd", batch=5, **BOUNDS)
        assert torch.equal(found.adversarial, pgd.adversarial) and torch.equal(found.labels, digits[1])
    unlabelled = attack(net, DataLoader(digits[0], batch_size=9), method="pgd", **BOUNDS)  # type: ignore[arg-type]
    assert not unlabelled.labelled and unlabelled.summary["robust_accuracy"] is None
    assert torch.equal(unlabelled.labels, unlabelled.before)


def test_pictures_that_are_wrong_beforehand_are_not_attacked(net: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pictures, labels = digits[0], digits[1].clone()
    labels[:3] = (labels[:3] + 1) % 10
    found = attack(net, pictures, labels, method="pgd", **BOUNDS)
    assert found.attacked.tolist() == [False] * 3 + [True] * 21
    assert torch.equal(found.adversarial[:3], pictures[:3]) and not found.success[:3].any()
    assert found.summary["of"] == 21 and found.summary["robust_accuracy"]["of"] == 24
    assert found.summary["clean_accuracy"]["right"] == 21
    assert found.summary["robust_accuracy"]["right"] == int((found.after == labels)[3:].sum())


def test_targets_are_reached(net: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pictures, labels = digits
    found = attack(net, pictures, labels, targets=3, method="pgd", **BOUNDS)
    assert not found.attacked[labels == 3].any()
    assert torch.equal(found.success, found.attacked & (found.after == 3)) and found.success.sum() > 12
    called = Attack(net, "pgd", targeted=True, **BOUNDS)(pictures, torch.full((24,), 3))
    assert torch.equal(called, found.adversarial)


class Dropping(nn.Module):
    """The digits' network behind layers that act otherwise in training mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), net)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def state(net: nn.Module) -> list[Any]:
    tensors = [(each.dtype, each.clone()) for each in net.state_dict().values()]
    return [tensors, [each.training for each in net.modules()], [each.requires_grad for each in net.parameters()]]


@pytest.mark.parametrize("precision", [torch.float16, torch.float64])
def test_the_network_is_as_before(net: nn.Module, digits: tuple[Tensor, Tensor], precision: torch.dtype) -> None:
    dropping = Dropping(net).to(precision).train()
    dropping.layers[2].eval()
    next(dropping.parameters()).requires_grad_(False)
    before = copy.deepcopy(state(dropping))
    found = attack(dropping, digits[0][:4], method="pgd", iterations=2)
    assert any("training mode" in note for note in found.examination.notes)
    (tensors, *modes), (expected, *expected_modes) = state(dropping), before
    assert modes == expected_modes
    for (dtype, value), (expected_dtype, expected_value) in zip(tensors, expected, strict=True):
        assert dtype == expected_dtype and torch.equal(value, expected_value)


def test_functions_are_attacked_too(net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result) -> None:
    def classify(pictures: Tensor) -> Tensor:
        return net(pictures)

    net.train()
    assert torch.equal(attack(classify, *digits, method="pgd", **BOUNDS).adversarial, pgd.adversarial)
    assert net.training and next(net.parameters()).requires_grad


def test_normalisation_outside_of_the_network(net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result) -> None:
    mean, deviation = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    scaled = nn.Sequential(Affine(0.25, 0.5), net)
    found = attack(scaled, *digits, method="pgd", mean=mean, deviation=deviation, **BOUNDS)
    assert (found.adversarial == pgd.adversarial).float().mean() > 0.99  # a different rounding


class Affine(nn.Module):
    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def test_models_of_foolbox_keep_their_preprocessing_and_bounds(
    net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result
) -> None:
    preprocessing = {"mean": [127.5] * 3, "std": [63.75] * 3, "axis": -3}
    scaled = nn.Sequential(Affine(0.25, 0.5), net).eval()
    model = foolbox.PyTorchModel(scaled, bounds=(0, 255), preprocessing=preprocessing, device="cpu")
    found = attack(model, *digits, method="pgd", **BOUNDS)
    assert (found.adversarial == pgd.adversarial).float().mean() > 0.99
    success = foolbox.criteria.Misclassification(digits[1])(found.adversarial, model(255 * found.adversarial))
    assert torch.equal(success, found.success)


def test_models_of_foolbox_are_classifiers_of_the_command_too(
    digits: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DIGITS))
    code = "import foolbox\nfrom digits_net import build\ndef model():\n"
    (tmp_path / "fool_net.py").write_text(code + "    return foolbox.PyTorchModel(build().eval(), (0, 1), 'cpu')\n")
    monkeypatch.chdir(tmp_path)
    target = load_classifier("module:fool_net:model")
    assert target.preprocessing.side is not None and len(target.names) == 10


def test_the_bundled_classifier_and_prior_take_tensors() -> None:
    from skimage import data

    cat = torch.from_numpy(data.chelsea()[:224, 100:324].copy()).movedim(-1, 0)[None] / 255
    preset = replace(PRESETS["natural"], iterations=3)
    found = attack(load_classifier("efficientnet-lite0"), cat, method=preset)
    assert found.adversarial.shape == cat.shape and not torch.equal(found.adversarial, cat)
    calls, likeness = found.reports[0].calls, found.naturalness[0].ssim
    assert calls is not None and calls > 4 and likeness is not None and likeness > 0.9


class Pictures(Dataset):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(3, 28, 28), None, "give .N, 3, H, W."),
        (torch.zeros(2, 3, 28, 28, dtype=torch.uint8), None, "pictures / 255"),
        (2 * torch.ones(2, 3, 28, 28), None, "leave out Normalize"),
        (torch.zeros(2, 3, 28, 28), [1.0, 2.0], "one integer for each"),
        (torch.zeros(2, 3, 28, 28), [1], "one integer for each"),
        (torch.zeros(2, 3, 28, 28), [1, 10], "from 1 to 10: .* has 10, counted from 0"),
        (Pictures(torch.zeros(3, 28, 28), torch.zeros(3, 30, 28)), None, "Resize"),
        (Pictures((torch.zeros(3, 28, 28), 1)), [1], "give no others"),
        (torch.zeros(2, 3, 40, 28), None, "takes no pictures of 3 x 40 x 28"),
    ],
)
def test_other_pictures_and_labels_are_refused(net: nn.Module, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attack(net, images, labels, method="pgd")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": -1}, "epsilon of -1: from 0 to 100"),
        ({"epsilon": float("nan")}, "epsilon of nan"),
        ({"step": -0.1}, "step of -0.1: from 0 to 100"),
        ({"iterations": -1}, "iterations of -1: from 0 to 10000"),
    ],
)
def test_numbers_out_of_range_are_refused(net: nn.Module, changes: dict[str, Any], message: str) -> None:
    pictures = torch.zeros(1, 3, 28, 28)
    with pytest.raises(UsageError, match=message):
        attack(net, pictures, method="pgd", **changes)
    with pytest.raises(UsageError, match=message):
        Attack(net, "pgd", **changes)
    with pytest.raises(UsageError, match=message):
        replace(PRESETS["pgd"], **changes)


def test_masked_gradients_are_refused_and_flags_are_warnings(net: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UsageError, match="rounds"):
        attack(nn.Sequential(Rounding(), net), *digits, method="pgd")
    with pytest.warns(UserWarning, match="random"):
        Attack(nn.Sequential(Noisy(), net), "pgd", iterations=1)(digits[0][:2])


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.round()


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


def test_grey_pictures_have_one_channel(net: nn.Module, digits: tuple[Tensor, Tensor], pgd: Result) -> None:
    grey = attack(net, digits[0][:, :1], digits[1], method="pgd", **BOUNDS)
    assert grey.adversarial.shape == (24, 1, 28, 28) and grey.success.sum() > 20 and len(grey.naturalness) == 24
    with pytest.raises(UsageError, match="three channels"):
        attack(net, digits[0][:, :1])
