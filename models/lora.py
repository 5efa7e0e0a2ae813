"""LoRA files (Hu et al. 2021, arXiv 2106.09685): low-rank changes of the weights of a model, loaded by diffusers."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isfinite, nan
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.json_file import read_object
from fastdiff.models.peft_adapter import CONFIG, fuse, is_peft_layout, read as read_peft
from fastdiff.models.quiet_libraries import quiet_libraries, sentence
from fastdiff.solvers.errors import MissingError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
# Settings of an adapter that a file may bring; PEFT knows others, some of which name modules to import.
SETTINGS = frozenset(
    {
        *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
        *("use_rslora", "use_dora", "lora_bias"),
    }
)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file, and the scale of its change: 1 is the change that was trained, 0 none."""

    path: Path
    scale: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "LoraFile":
        """Read FILE or FILE:SCALE. Raises UsageError for a scale that is no number, and for a file of another kind."""
        name, colon, scale = text.rpartition(":")
        if text.endswith(SUFFIX) or not colon:
            name, scale = text, "1"
        if (value := _number(scale)) is None:
            raise UsageError(f"scale {scale!r} of the LoRA file {name}: give a number, such as {name}:0.7")
        if isdir(name):
            raise UsageError(f"the LoRA file {name} is a folder: give the {SUFFIX} file in it")
        if Path(name).suffix != SUFFIX:
            raise UsageError(f"the LoRA file {name} is no {SUFFIX} file: no other kind is read, convert it first")
        return cls(Path(name), value)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the config of PEFT beside it if there is one."""
        config = self.path.with_name(CONFIG)
        return (self.path, config) if isfile(config) else (self.path,)

    def __str__(self) -> str:
        return f"{self.path}:{self.scale}"


@dataclass(frozen=True, eq=False)
class Adapter:
    """The contents of a LoRA file, under the names of diffusers."""

    file: LoraFile
    loader: Any  # the class of the pipeline, which loads LoRA into text encoders; None in PEFT's layout
    weights: Mapping[str, "Tensor"]  # by part, such as unet, and the path in it
    alphas: Mapping[str, float] | None  # factors of the weights, where they stand apart
    settings: Mapping[str, Any] | None  # of PEFT, by part, where the file has them

    @property
    def parts(self) -> frozenset[str]:
        """The parts of a model folder that the file changes."""
        return frozenset(key.partition(".")[0] for key in self.weights)

    def fuse_into(self, network: Any, part: str) -> None:
        """Add the change of a file in PEFT's layout to a part, its network.

        Raises UsageError for weights that do not fit the network.
        """
        try:
            fuse(network, {key.removeprefix(f"{part}."): each for key, each in self.weights.items()}, self.file.scale)
        except (AttributeError, KeyError, RuntimeError) as error:
            raise UsageError(self._misfit(part, network)) from error

    def load_into(self, network: Any, part: str, name: str) -> None:
        """Have diffusers load the weights for a part into its network, as the adapter `name`.

        Raises UsageError for weights that do not fit the network.
        """
        weights = {key: weight.to(network.dtype) for key, weight in self.weights.items()}
        given = {"adapter_name": name, "network_alphas": self.alphas, "metadata": self.settings}
        with _quiet():
            try:
                if hasattr(network, "load_lora_adapter"):
                    network.load_lora_adapter(weights, prefix=part, low_cpu_mem_usage=True, **given)
                else:
                    self.loader.load_lora_into_text_encoder(
                        weights, text_encoder=network, prefix=part, low_cpu_mem_usage=True, **given
                    )
                fits = self._shapes(part) == sorted(
                    tuple(weight.shape) for key, weight in network.named_parameters() if f".{name}." in key
                )
            except Exception as error:  # of diffusers, transformers and PEFT, which have no common base
                raise UsageError(self._misfit(part, network)) from error
        if not fits:  # the libraries pass over weights without a place
            raise UsageError(self._misfit(part, network))

    def _shapes(self, part: str) -> list[tuple[int, ...]]:
        return sorted(tuple(weight.shape) for key, weight in self.weights.items() if key.startswith(f"{part}."))

    def _misfit(self, part: str, network: Any) -> str:
        return (
            f"the LoRA file {self.file.path} does not fit the {part}, a {type(network).__name__}: it was trained for "
            "another model"
        )


def peft_version() -> str | None:
    """Return the version of PEFT, by which diffusers loads LoRA; None where it is not installed."""
    try:
        return version("peft")
    except PackageNotFoundError:
        return None


def check_peft() -> None:
    """Raise MissingError where PEFT is not installed, or too old for diffusers."""
    from diffusers.utils import USE_PEFT_BACKEND

    installed = peft_version()
    if installed is None:
        raise MissingError("LoRA files need the package peft: pip install 'fastdiff-toolkit[lora]'")
    if not USE_PEFT_BACKEND:
        raise MissingError(f"peft {installed} is too old for diffusers: pip install --upgrade 'fastdiff-toolkit[lora]'")


def read_adapters(files: Sequence[LoraFile], folder: ModelFolder) -> tuple[Adapter, ...]:
    """Read LoRA files for the model of a folder, before its weights are loaded.

    Raises MissingError without PEFT; UsageError for a file that cannot be read, is no LoRA, or changes parts that the
    model does not have, and for a family of models into which diffusers loads none.
    """
    return tuple(_read(file, folder) for file in files)


def attach(adapters: Sequence[Adapter], network: Any, part: str) -> None:
    """Load the adapters that change a part of a model folder into its network, each at its scale.

    Raises UsageError for weights that do not fit the network.
    """
    scales: dict[str, float] = {}
    for number, adapter in enumerate(sorted(adapters, key=lambda each: each.loader is not None)):  # wrap no layer yet
        if part not in adapter.parts:
            continue
        if adapter.loader is None:
            adapter.fuse_into(network, part)
        else:
            adapter.load_into(network, part, f"lora_{number}")
            scales[f"lora_{number}"] = adapter.file.scale
    if scales:
        from diffusers.utils import set_weights_and_activate_adapters

        set_weights_and_activate_adapters(network, list(scales), list(scales.values()))


def _read(file: LoraFile, folder: ModelFolder) -> Adapter:
    import diffusers
    from safetensors import SafetensorError, safe_open

    if not isfile(file.path):
        raise UsageError(f"cannot read the LoRA file {file.path}: there is no such file")
    try:
        with safe_open(file.path, framework="np") as content:
            names = list(content.keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read the LoRA file {file.path}: {sentence(error)}") from error
    in_peft_layout = is_peft_layout(names)
    loader: Any = None if in_peft_layout else getattr(diffusers, folder.pipeline, None)
    if not (in_peft_layout or hasattr(loader, "lora_state_dict")):
        raise UsageError(
            f"diffusers loads no LoRA into a {folder.pipeline}, the kind of {folder.path}: give a file in the layout "
            "of PEFT, adapter_model.safetensors"
        )
    if not in_peft_layout:
        check_peft()
    is_dora = any("dora_scale" in name or "lora_magnitude_vector" in name for name in names)
    network = "unet" if "unet" in folder.parts else "transformer"
    with _quiet():
        try:
            weights, alphas, settings = (
                (read_peft(file.path, network), None, None)
                if in_peft_layout
                else _by_diffusers(file.path, loader, folder)
            )
        except UsageError:
            raise
        except Exception as error:  # of diffusers and safetensors, which have no common base
            raise UsageError(f"cannot read the LoRA file {file.path}: {sentence(error)}") from error
    if is_dora:
        raise UsageError(f"{file.path} is a DoRA file, whose scales diffusers leaves out: give a LoRA file")
    strangers = [key for key in weights if "lora" not in key]
    if strangers or not weights:
        holds = f"it holds {strangers[0]}" if strangers else "it is empty"
        raise UsageError(f"{file.path} is no LoRA file: {holds}")
    if others := [weight.dtype for weight in weights.values() if not weight.is_floating_point()]:
        raise UsageError(f"the LoRA file {file.path} holds weights of the type {others[0]}: floating point is needed")
    if not all(weight.float().isfinite().all() for weight in weights.values()):
        raise UsageError(f"the LoRA file {file.path} holds numbers that are not finite: it is broken")
    adapter = Adapter(file, loader, weights, alphas, _known(settings))
    modules = (network,) if in_peft_layout else loader._lora_loadable_modules
    possible = {part for part in modules if part in folder.parts}
    if unknown := sorted(adapter.parts - possible):
        raise UsageError(
            f"the LoRA file {file.path} changes {unknown[0]}, and {folder.path} has {' and '.join(sorted(possible))} "
            "to change: it was trained for another family of models"
        )
    return adapter


def _by_diffusers(path: Path, loader: Any, folder: ModelFolder) -> tuple[Any, Any, Any]:
    """Return the weights, the factors that stand apart, if any, and the settings of a file as diffusers reads them."""
    weights, *alphas, settings = loader.lora_state_dict(
        str(path),
        use_safetensors=True,
        local_files_only=True,
        return_lora_metadata=True,
        return_alphas=True,
        **_unet_config(folder),
    )
    return weights, alphas[0] if alphas else None, settings


def _unet_config(folder: ModelFolder) -> dict[str, Any]:
    """Return the argument by which diffusers finds the blocks of a U-Net under their names in other programs."""
    if "unet" not in folder.parts:
        return {}
    from diffusers.configuration_utils import FrozenDict

    return {"unet_config": FrozenDict(read_object(folder.path / "unet" / "config.json"))}


def _known(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return those of SETTINGS, whose keys begin with the name of a part; None for settings of another shape."""
    if not isinstance(settings, Mapping):
        return None
    return {key: value for key, value in settings.items() if key.partition(".")[2] in SETTINGS}


def _number(text: str) -> float | None:
    """Return the finite number that a text writes; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    return value if isfinite(value) else None


@contextmanager
def _quiet() -> Iterator[None]:
    with quiet_libraries(), warnings.catch_warnings(action="ignore"):
        yield
