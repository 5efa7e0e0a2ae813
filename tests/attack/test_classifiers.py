"""Victims of every family with random weights, offline, against the pre-processing of their own libraries."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from transformers import (
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.models.classifier_loading import class_names, load_classifier, read_names
from fastdiff.solvers.errors import MissingError, UsageError

CAT = data.chelsea()  # (300, 451, 3)


def picture() -> Tensor:
    return torch.from_numpy(CAT.copy()).movedim(-1, 0)[None] / 255


def same_view(target: ClassifierTarget, theirs: Tensor) -> None:
    """Antialiased resizing in torch and in PIL differ by rounding to 8 bits."""
    ours = target.preprocessing(picture())
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.03


def test_the_bundled_ones_know_a_cat() -> None:
    target = load_classifier("efficientnet-lite0")
    assert "cat" in target.names[int(target(picture()).argmax())].lower()
    torch.testing.assert_close(target.preprocessing(torch.ones(1, 3, 300, 300)), torch.ones(1, 3, 224, 224))
    torch.testing.assert_close(
        target.preprocessing(torch.zeros(1, 3, 300, 300)), torch.full((1, 3, 224, 224), -127 / 128)
    )
    assert target.preprocessing(picture()).shape[-1] == 224


@pytest.mark.parametrize(("name", "side"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)])
def test_the_larger_ones_see_more(name: str, side: int) -> None:
    target = load_classifier(name)
    assert target.preprocessing.side == side and "cat" in target.names[int(target(picture()).argmax())].lower()


def test_timm(tmp_path: Path) -> None:
    net = timm.create_model("test_vit", num_classes=5).eval()
    names = ["ant", "bee", "cat", "dog", "elk"]
    timm.models.save_for_hf(net, str(tmp_path / "net"), model_config={"label_names": names}, safe_serialization=True)
    target = load_classifier(f"timm:{tmp_path / 'net'}")
    assert target.names == tuple(names)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    theirs = transform(Image.fromarray(CAT))[None]
    same_view(target, theirs)
    with torch.no_grad():
        torch.testing.assert_close(target.net(theirs), net(theirs))


def test_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingError, match=r"squeezenet1_1-.*pth into"):
        load_classifier("torchvision:squeezenet1_1")
    weights = get_model_weights("squeezenet1_1").DEFAULT
    path = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir()
    net = get_model("squeezenet1_1").eval()
    torch.save(net.state_dict(), path)
    target = load_classifier("torchvision:squeezenet1_1")
    assert target.names[281] == "tabby"
    theirs = weights.transforms()(Image.fromarray(CAT))[None]
    same_view(target, theirs)
    with torch.no_grad():
        torch.testing.assert_close(target.net(theirs), net(theirs))
    torch.save(nn.Linear(1, 1), path)
    with pytest.raises(UsageError, match="more than weights"):
        load_classifier("torchvision:squeezenet1_1")


@pytest.mark.parametrize(
    "spec", ["mobilenet_v2@IMAGENET1K_V1", "mobilenet_v2@IMAGENET1K_V2", "densenet121", "inception_v3"]
)
def test_torchvision_as_its_own_builders_load_it(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name, _, version = spec.partition("@")
    weights = get_model_weights(name)[version or "DEFAULT"]
    path = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir()
    state = get_model(name, **({"init_weights": False} if name == "inception_v3" else {})).state_dict()
    torch.save(of_old(state) if name == "densenet121" else state, path)
    target, theirs = load_classifier(f"torchvision:{spec}"), get_model(name, weights=weights).eval()
    seen = weights.transforms()(Image.fromarray(CAT))[None]
    same_view(target, seen)
    with torch.no_grad():
        torch.testing.assert_close(target.net(seen), theirs(seen))


def of_old(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a DenseNet as torchvision's files have them, which are older than its code."""
    kept = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    return {re.sub(r"(layer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value for key, value in kept.items()}


def test_versions_of_weights_are_known_by_name() -> None:
    with pytest.raises(UsageError, match="no weights 'V3' of mobilenet_v2: one of IMAGENET1K_V1, IMAGENET1K_V2"):
        load_classifier("torchvision:mobilenet_v2@V3")


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "ant", 1: "bee"},
        label2id={"ant": 0, "bee": 1},
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_huggingface(vit: Path) -> None:
    target = load_classifier(f"hf:{vit}")
    assert target.names == ("ant", "bee") and target.label("BEE") == 1
    theirs = ViTImageProcessor.from_pretrained(vit)(Image.fromarray(CAT), return_tensors="pt").pixel_values
    same_view(target, theirs)
    net = ViTForImageClassification.from_pretrained(vit).eval()
    with torch.no_grad():
        torch.testing.assert_close(target.net(theirs), net(theirs).logits)


@pytest.mark.parametrize(
    "processor",
    [
        ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.66),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
        DeiTImageProcessor(size={"height": 48, "width": 48}, crop_size={"height": 32, "width": 32}),
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 32, "width": 32}),
    ],
    ids=["convnext", "convnext-384", "deit", "clip"],
)
def test_views_are_those_of_the_processors(processor: Any, vit: Path) -> None:
    processor.save_pretrained(vit)
    theirs = processor(Image.fromarray(CAT), return_tensors="pt").pixel_values
    same_view(load_classifier(f"hf:{vit}"), theirs)


@pytest.mark.parametrize(
    ("processor", "told"),
    [
        (ViTImageProcessor(size={"height": 32, "width": 48}), "squares of 1 to"),
        (ViTImageProcessor(rescale_factor=1 / 127.5), "rescale_factor 0.00784"),
        (ViTImageProcessor(do_rescale=False), "do_rescale False"),
        (ViTImageProcessor(resample=0), "resample 0"),
        (MobileViTImageProcessor(), "do_flip_channel_order True"),
        (EfficientNetImageProcessor(rescale_offset=True), "include_top True, rescale_offset True"),
        (LevitImageProcessor(), "resizes pictures in a way of its own"),
        (DeiTImageProcessor(size={"height": 20, "width": 20}), "more than the size"),
    ],
    ids=lambda value: type(value).__name__.removesuffix("ImageProcessor"),
)
def test_processors_that_do_more_are_refused(processor: Any, told: str, vit: Path) -> None:
    processor.save_pretrained(vit)
    with pytest.raises(UsageError, match=told):
        load_classifier(f"hf:{vit}")


def test_pickles_and_code_of_a_folder_are_left_alone(vit: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (vit / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\nclass Theirs: pass\n")
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoModelForImageClassification": "theirs.Theirs"}})
    )
    assert load_classifier(f"hf:{vit}").names == ("ant", "bee") and not ran.exists()
    (vit / "model.safetensors").unlink()
    (vit / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UsageError, match="pickled"):
        load_classifier(f"hf:{vit}")


def test_a_module_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    side = 8\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3))\n"
        "def build():\n"
        "    return Net()\n"
        "broken = 3\n"
        "def plain(x):\n"
        "    return x.mean((2, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    target = load_classifier("module:own_net:build")
    assert target.names == ("0", "1", "2") and target.preprocessing.side == 8
    torch.testing.assert_close(target(torch.full((1, 3, 20, 20), 0.25)), torch.full((1, 3), 0.25))
    assert load_classifier("module:own_net:build", names=("red", "green", "blue")).label("blue") == 2
    plain = load_classifier("module:own_net:plain")
    torch.testing.assert_close(plain(torch.full((1, 3, 20, 20), 0.25)), torch.full((1, 3), 0.25))
    for spec, told in (
        ("own_net:broken", "cannot be made"),
        ("own_net", "MODULE:NAME"),
        ("no_such:x", "cannot be made"),
    ):
        with pytest.raises(UsageError, match=told):
            load_classifier(f"module:{spec}")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({10: "k", 2: "c", **{index: str(index) for index in (0, 1, 3, 4, 5, 6, 7, 8, 9)}}, ("0", "1", "c")),
        ({"10": "k", "2": "c", **{str(index): "x" for index in (0, 1, 3, 4, 5, 6, 7, 8, 9)}}, ("x", "x", "c")),
        ({"ant": 1, "bee": 0, "cat": 2}, ("bee", "ant", "cat")),
        (["a", "b", "c"], ("a", "b", "c")),
    ],
)
def test_names_in_the_order_of_their_indices(names: Any, expected: tuple[str, ...]) -> None:
    assert class_names("net", names)[:3] == expected


def test_mappings_of_names_without_all_indices() -> None:
    for names in ({1: "a", 2: "b"}, {"a": "x", "b": "y"}, {"a": 0, "b": 2}):
        with pytest.raises(UsageError, match="keys are not the indices 0 to 1"):
            class_names("net", names)


def test_a_network_for_which_no_side_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_net.py").write_text(
        "import torch\n"
        "odd = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 3))\n"
        "linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 21 * 21, 3))\n"
        "grey = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3))\n"
        "def words(x):\n"
        "    return 'cat'\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"give it an attribute `side`.*RuntimeError"):
        load_classifier("module:odd_net:odd")
    with pytest.raises(UsageError, match="gives a str without a tensor of floats"):
        load_classifier("module:odd_net:words")
    linear, grey = load_classifier("module:odd_net:linear"), load_classifier("module:odd_net:grey")
    assert (linear.preprocessing.side, linear.preprocessing.grey) == (21, False)
    assert (grey.preprocessing.side, grey.preprocessing.grey) == (28, True)


def test_as_many_names_as_classes() -> None:
    with pytest.raises(UsageError, match="2 names of classes are given: efficientnet-lite0 has 1000"):
        load_classifier("efficientnet-lite0", names=("ant", "bee"))


@pytest.mark.parametrize("spec", ["resnet50", "timm:", "http://x", "torchvision:nothing", "hf:no where"])
def test_unknown_classifiers_are_one_sentence(spec: str) -> None:
    with pytest.raises((UsageError, MissingError)) as told:
        load_classifier(spec)
    assert "\n" not in str(told.value)


def test_colours_outside_are_told() -> None:
    target = ClassifierTarget("net", nn.Flatten(), Preprocessing(1), numbered(3))
    with pytest.raises(UsageError, match="normalise them inside"):
        target(torch.full((1, 3, 4, 4), 255.0))
    with pytest.raises(UsageError, match="normalise them inside"):
        target(torch.full((1, 3, 4, 4), torch.nan))
    target(torch.full((1, 3, 4, 4), 1 + 5e-5))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_told(value: float) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Threshold(2, value))
    with pytest.raises(UsageError, match="not finite"):
        ClassifierTarget("net", net, Preprocessing(1), numbered(3))(torch.zeros(1, 3, 4, 4))


def test_labels_by_index_and_name() -> None:
    target = load_classifier("efficientnet-lite0")
    assert target.label("281") == 281 and target.label(" Tabby ") == 281 and target.label("fire_engine") == 555
    with pytest.raises(UsageError, match="did you mean 'tabby'"):
        target.label("taby")
    with pytest.raises(UsageError, match="give the index, 0 or 2"):
        ClassifierTarget("net", nn.Flatten(), Preprocessing(1), ("crane", "bee", "Crane")).label("crane")
    for text in ("1000", "9" * 999):
        with pytest.raises(UsageError, match="counted from 0"):
            target.label(text)
    with pytest.raises(UsageError, match="5000 characters"):
        target.label("9" * 5000)


def test_names_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\n\n")
    assert read_names(tmp_path / "names.txt") == ("ant", "bee")
    (tmp_path / "gap.txt").write_text("ant\n\nbee\n")
    with pytest.raises(UsageError, match=r"line 2 of .*gap\.txt is blank"):
        read_names(tmp_path / "gap.txt")
    (tmp_path / "one.txt").write_text("ant\n")
    for name in ("one.txt", "none.txt"):
        with pytest.raises(UsageError):
            read_names(tmp_path / name)


@pytest.mark.parametrize(
    ("scaled", "squash", "expected"), [(None, False, 1.0), (32, False, 1.0), (None, True, 0.5), (32, True, 1.0)]
)
def test_the_middle_is_seen_or_all(scaled: int | None, squash: bool, expected: float) -> None:
    wide = torch.zeros(1, 3, 16, 32)
    wide[..., 8:24] = 1
    seen = Preprocessing(16, scaled, squash, mode="bilinear")(wide)
    assert seen.shape == (1, 3, 16, 16) and float(seen.mean()) == pytest.approx(expected, abs=0.01)
    assert torch.equal(Preprocessing(None)(wide), wide)
