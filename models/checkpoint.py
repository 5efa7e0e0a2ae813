"""Checkpoints in one file, under the names of their authors, converted by diffusers with the configs of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import nan
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiff.models.diffusers_folder import PICKLES
from fastdiff.models.quiet_libraries import quiet_libraries, sentence
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUFFIX = ".safetensors"
OF_AUTOENCODERS = ("first_stage_model.", "vae.")  # how the names of their weights begin


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights in one file: of a whole model, or of its network alone."""

    path: Path
    weights: Mapping[str, "Tensor"]

    def component(self, kind: Any, folder: Path, part: str, dtype: "torch.dtype") -> Any | None:
        """Return a component of the class `kind`, with the config of a part of a folder; None if the file has none.

        Raises UsageError for weights that do not fit the config or are incomplete.
        """
        with quiet_libraries():
            try:
                component = self._of_diffusers(kind, folder / part) if hasattr(kind, "from_single_file") else None
                if component is None and self._has_text_encoder(kind):
                    component = self._text_encoder(kind, folder, part)
            except Exception as error:  # of diffusers and torch, which have no common base
                raise UsageError(
                    f"{self.path} does not fit the {part} of {folder}: give --config the folder of a model of the same "
                    f"kind ({sentence(error)})"
                ) from error
            if component is None:
                return None
            tensors = chain(component.named_parameters(), component.named_buffers())
            unset = next((name for name, tensor in tensors if tensor.is_meta or tensor.isnan().any()), None)
            if unset is not None:
                raise UsageError(
                    f"{self.path} has no numbers for {unset} in the {part} of {folder}: give --config the folder of "
                    "a model of the same kind, or a whole file"
                )
            return component.to(dtype)

    def _of_diffusers(self, kind: Any, where: Path) -> Any | None:
        import torch
        from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

        is_autoencoder = "Autoencoder" in kind.__name__
        if is_autoencoder and not any(key.startswith(OF_AUTOENCODERS) for key in self.weights):
            return None
        config = kind.load_config(where)
        with torch.device("meta"):
            component = kind.from_config(config)
        weights = dict(self.weights)  # converters take some out
        if not component.state_dict().keys() <= weights.keys():
            functions: Any = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]
            weights = functions["checkpoint_mapping_fn"](config=config, checkpoint=weights)
        surplus = component.load_state_dict(weights, strict=False, assign=True).unexpected_keys
        if surplus and not is_autoencoder:  # such as the guidance of FLUX.1-dev with the configs of schnell
            raise UsageError(f"these have no place for {surplus[0]}")
        return component

    def _has_text_encoder(self, kind: Any) -> bool:
        from diffusers.loaders.single_file_utils import is_clip_model_in_single_file, is_t5_in_single_file

        is_t5 = kind.__name__ == "T5EncoderModel" and is_t5_in_single_file(self.weights)
        return is_t5 or bool(is_clip_model_in_single_file(kind, self.weights))

    def _text_encoder(self, kind: Any, folder: Path, part: str) -> Any:
        from diffusers.loaders.single_file_utils import (
            create_diffusers_clip_model_from_ldm,
            create_diffusers_t5_model_from_checkpoint,
        )

        convert: Any = (
            create_diffusers_t5_model_from_checkpoint
            if kind.__name__ == "T5EncoderModel"
            else create_diffusers_clip_model_from_ldm
        )
        encoder = convert(_unset(kind), dict(self.weights), subfolder=part, config=str(folder), local_files_only=True)
        encoder.__class__ = kind
        return encoder


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises UsageError for a file that is cut short or no safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return Checkpoint(path, load_file(path))
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error}") from error


def check_checkpoint(model: str, config: Path | None) -> None:
    """Raise UsageError unless `model` is a safetensors file and comes with the folder of its configs, or is no file."""
    path = Path(model)
    if not isdir(path) and any(path.match(pattern) for pattern in PICKLES):
        raise UsageError(f"{model} is pickled, and loading it may run code: convert it to {SUFFIX} first")
    if isfile(path) and path.suffix != SUFFIX:
        raise UsageError(f"{model} is no checkpoint: give a {SUFFIX} file, a folder or a hub id")
    if isfile(path) and config is None:
        raise UsageError(
            f"{model} is a single file: `fastdiff edit` takes it with --config, a model folder of the same kind, which "
            "has the configs, tokenizers and scheduler"
        )
    if config is not None and path.suffix != SUFFIX:
        raise UsageError(f"--config is for a {SUFFIX} file as --model, and not for {model}")
    if config is not None and not isfile(path):
        raise UsageError(f"cannot read the checkpoint {model}: there is no such file")


def _unset(kind: Any) -> Any:
    """Return a class whose new networks hold no numbers, so that weights which a file lacks are seen.

    The converters of diffusers pass over them.
    """
    from torch import nn

    class Unset(kind):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            kind.__init__(self, config)
            for weight in self.parameters():
                nn.init.constant_(weight, nan)

    Unset.__name__ = kind.__name__
    return Unset
