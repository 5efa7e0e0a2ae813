"""Loads the components of a model folder: networks, autoencoders, text encoders and tokenizers.

Only classes that the caller allows are instantiated, from config files and safetensors. No code of a folder is run, and
no pickle is read. LoRA files (`fastdiff.models.lora`) change networks and text encoders as these are loaded.
"""

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastdiff.models import digest
from fastdiff.models.checkpoint import Checkpoint
from fastdiff.models.diffusers_folder import ModelFolder, read_weights
from fastdiff.models.json_file import read_object
from fastdiff.models.lora import Adapter, attach
from fastdiff.models.quiet_libraries import quiet_libraries, sentence
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Allowed = Mapping[str, str]  # a class in the index, such as diffusers.AutoencoderKL -> module:Class
AUTOENCODERS = {
    "diffusers.AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl:AutoencoderKL",
    "diffusers.AutoencoderDC": "diffusers.models.autoencoders.autoencoder_dc:AutoencoderDC",
    "fastdiff.models.patch_codec.PatchCodec": "fastdiff.models.patch_codec:PatchCodec",
    "fastdiff.models.conv_codec.ConvCodec": "fastdiff.models.conv_codec:ConvCodec",
}
LARGEST = {  # in a config
    **dict.fromkeys(("num_layers", "num_single_layers", "num_decoder_layers", "num_hidden_layers"), 256),
    "layers_per_block": 64,
    "sample_size": 512,
}
LARGEST_VOCABULARY = 50_000_000  # bytes of a file of a tokenizer


@dataclass(frozen=True)
class Components:
    """The components of one model folder, for a device and a precision.

    `allowed` maps class names in the index to "module:Class"; a module is imported when a folder needs it. All methods
    raise UsageError for any other class, and if config or weights are incomplete or do not fit each other.
    """

    folder: ModelFolder
    device: torch.device
    dtype: torch.dtype  # of the denoising network and the text encoders
    offload: bool = False  # whether all parts wait on the processor until they are used, one at a time
    adapters: tuple[Adapter, ...] = ()  # of LoRA files
    checkpoint: Checkpoint | None = None  # whose weights replace those of the folder

    def network(self, part: str, allowed: Allowed) -> Any:
        """Load the denoising network."""
        network = self._loaded(part, allowed, self.dtype)
        size = network.config.get("sample_size", 1)  # latents of a side
        if not (isinstance(size, int) and size > 0):
            raise UsageError(f"sample_size of {self._config(part)} is {size!r}: a whole number above 0 is needed")
        return self._resting(network)

    def autoencoder(self, part: str) -> Any:
        """Load the autoencoder, always in float32: those of PixArt-Sigma and XL overflow in float16."""
        autoencoder = self._loaded(part, AUTOENCODERS, torch.float32)
        scale = autoencoder.config.scaling_factor
        if not (isinstance(scale, int | float) and isfinite(scale) and scale > 0):
            raise UsageError(f"scaling_factor of {self._config(part)} is {scale!r}: a number above 0 is needed")
        return self._resting(autoencoder)

    def text_encoder(self, part: str, allowed: Allowed) -> Any:
        return self._resting(self._loaded(part, allowed, self.dtype))

    def tokenizer(self, part: str, allowed: Allowed) -> "PreTrainedTokenizerFast":
        """Load the tokenizer; its encodings have the character span of every token."""
        kind, where = self._allowed(part, allowed), self.folder.path / part
        if not any(where.glob("*")):
            raise UsageError(f"{where} holds no tokenizer: its files are needed")
        for file in where.glob("*"):
            if file.stat().st_size > LARGEST_VOCABULARY:
                raise UsageError(f"{file} is too large: it may have at most {LARGEST_VOCABULARY} bytes")
        with _loading(where):
            tokenizer: PreTrainedTokenizerFast = kind.from_pretrained(where, local_files_only=True)
        return tokenizer

    def fingerprint(self, part: str) -> str:
        """Return the SHA-256 of a component's class and files, in hexadecimal."""
        kind = self.folder.parts.get(part, "not listed")
        return hashlib.sha256(f"{kind} {digest.of_model(self.folder.path / part)}".encode()).hexdigest()

    def _loaded(self, part: str, allowed: Allowed, dtype: torch.dtype) -> Any:
        """A network in evaluation mode and `dtype` on the processor, without gradients of its weights."""
        kind, where = self._allowed(part, allowed), self.folder.path / part
        _check_config(read_object(where / "config.json"), where)
        network = None
        if self.checkpoint is not None:
            network = self.checkpoint.component(kind, self.folder.path, part, dtype)
        if network is None:
            network = self._of_folder(kind, where, dtype)
        attach(self.adapters, network, part)
        return network.eval().requires_grad_(False)

    def _of_folder(self, kind: Any, where: Path, dtype: torch.dtype) -> Any:
        weights = read_weights(where)
        ours = {"low_cpu_mem_usage": False} if _is_of_diffusers(kind) else {}  # the default needs accelerate
        with _loading(where):
            if _count(kind, where) > weights.numbers:
                raise UsageError(f"the weights in {where} are fewer than its config.json asks for")
            network, loading_info = kind.from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                variant=weights.variant,
                **ours,
            )
        if loading_info["missing_keys"]:
            raise UsageError(f"the weights in {where} lack {min(loading_info['missing_keys'])}")
        return network

    def _config(self, part: str) -> Path:
        return self.folder.path / part / "config.json"

    def _resting(self, network: Any) -> Any:
        return network if self.offload else network.to(self.device)

    def _allowed(self, part: str, allowed: Allowed) -> Any:
        name = self.folder.parts.get(part, "not listed")
        if name not in allowed:
            raise UsageError(f"the {part} of {self.folder.path} is {name}: only {', '.join(allowed)} is loaded")
        module, _, kind = allowed[name].partition(":")
        return getattr(importlib.import_module(module), kind)


def _check_config(config: Mapping[str, Any], where: Path) -> None:
    for key, largest in LARGEST.items():
        value = config.get(key)
        if isinstance(value, int | float) and value > largest:
            raise UsageError(f"{key} of {where / 'config.json'} is {value}: at most {largest} are loaded")


def _is_of_diffusers(kind: Any) -> bool:
    from diffusers.models.modeling_utils import ModelMixin

    return issubclass(kind, ModelMixin)


def _count(kind: Any, where: Path) -> int:
    """Count the parameters that the config asks for, without allocating them."""
    with torch.device("meta"):
        if _is_of_diffusers(kind):
            network = kind.from_config(kind.load_config(where))
        else:
            network = kind(kind.config_class.from_pretrained(where))
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def _loading(where: Path) -> Iterator[None]:
    """Silence the two libraries, and turn any error of theirs into a UsageError of one sentence."""
    with quiet_libraries():
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"cannot load {where}: {sentence(error)}") from error
