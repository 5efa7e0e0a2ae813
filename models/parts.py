"""Parts of a model folder, loaded by the real classes of diffusers and transformers.

Only classes that the caller allows are ever made, from config files and safetensors alone: no code that a folder
brings is run, and no pickle is read.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import logging as diffusers_logging
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from fastdiff.models.diffusers_folder import ModelFolder, read_weights
from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError

LARGEST = {"num_layers": 256, "num_decoder_layers": 256, "layers_per_block": 64, "sample_size": 512}  # in a config
LARGEST_VOCABULARY = 50_000_000  # bytes of a file of a tokenizer
Class = TypeVar("Class")


def load_network(folder: ModelFolder, part: str, allowed: Mapping[str, type], dtype: torch.dtype) -> Any:
    """A network in evaluation mode and `dtype` on the processor, without gradients of its weights.

    `allowed` are classes by the name that the index gives them. Raises UsageError for any other, and where config and
    weights are not whole or do not fit each other.
    """
    kind: Any = _allowed(folder, part, allowed)
    where = folder.path / part
    _check_config(read_object(where / "config.json"), where)
    stored = read_weights(where).numbers
    ours = {"low_cpu_mem_usage": False} if issubclass(kind, ModelMixin) else {}  # the default needs accelerate
    with _loading(where):
        if _count(kind, where) > stored:
            raise UsageError(f"the weights in {where} are fewer than its config.json asks for")
        network, told = kind.from_pretrained(
            where, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **ours
        )
    if told["missing_keys"]:
        raise UsageError(f"the weights in {where} lack {min(told['missing_keys'])}")
    return network.eval().requires_grad_(False)


def load_tokenizer(
    folder: ModelFolder, part: str, allowed: Mapping[str, type[PreTrainedTokenizerFast]]
) -> PreTrainedTokenizerFast:
    """A tokenizer that knows where in the text each token stands.

    Raises UsageError as `load_network` does.
    """
    kind, where = _allowed(folder, part, allowed), folder.path / part
    for file in where.glob("*"):
        if file.stat().st_size > LARGEST_VOCABULARY:
            raise UsageError(f"{file} is too large: it may have at most {LARGEST_VOCABULARY} bytes")
    with _loading(where):
        return kind.from_pretrained(where, local_files_only=True)


def _allowed(folder: ModelFolder, part: str, allowed: Mapping[str, Class]) -> Class:
    name = folder.parts.get(part, "not listed")
    if name not in allowed:
        raise UsageError(f"the {part} of {folder.path} is {name}: only {', '.join(allowed)} is loaded")
    return allowed[name]


def _check_config(config: Mapping[str, Any], where: Path) -> None:
    for key, largest in LARGEST.items():
        value = config.get(key)
        if isinstance(value, int | float) and value > largest:
            raise UsageError(f"{key} of {where / 'config.json'} is {value}: at most {largest} are loaded")


def _count(kind: Any, where: Path) -> int:
    """Parameters that the config asks for; no memory is spent on them."""
    with torch.device("meta"):
        if issubclass(kind, ModelMixin):
            network = kind.from_config(kind.load_config(where))
        else:
            network = kind(kind.config_class.from_pretrained(where))
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def _loading(where: Path) -> Iterator[None]:
    """Let the two libraries work in silence, and say in one sentence what a stranger's config made of them."""
    logs = (diffusers_logging, transformers_logging)
    levels = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot load {where}: {str(error).strip().partition(chr(10))[0]}") from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
            log.enable_progress_bar()
