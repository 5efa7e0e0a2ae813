"""Diffusion models by name: one line per family, keyed by the pipeline class that a model folder names."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fastdiff.models.catalogue import find
from fastdiff.models.checkpoint import read_checkpoint
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusers_folder import ModelFolder, read_folder
from fastdiff.models.diffusion_model import AttentionControl, DiffusionModel, EditableModel
from fastdiff.models.json_file import read_object
from fastdiff.models.lora import LoraFile, read_adapters
from fastdiff.models.scheduler_config import is_flow
from fastdiff.solvers.errors import UsageError

# Pipeline class in model_index.json -> module of the family, whose `load` takes the components and the model's name.
# The CONTROLS of a module are the kinds of attention control that its networks allow; without it there are none.
EDITABLE_FAMILIES = {  # which `edit` loads: they follow prompts
    "PixArtAlphaPipeline": "fastdiff.models.pixart",
    "PixArtSigmaPipeline": "fastdiff.models.pixart",
    "StableDiffusion3Pipeline": "fastdiff.models.stable_diffusion_3",
    "SanaPipeline": "fastdiff.models.sana",
    "FluxPipeline": "fastdiff.models.flux",
    "StableDiffusionPipeline": "fastdiff.models.stable_diffusion",
    "StableDiffusionXLPipeline": "fastdiff.models.stable_diffusion",
}
FAMILIES = {
    **EDITABLE_FAMILIES,
    "LDMPipeline": "fastdiff.models.unconditional",
}


def attention_controls(model: str, config: Path | None = None) -> frozenset[AttentionControl]:
    """Return the kinds of attention control that the networks of a model's family allow, without loading the model.

    `config` is the folder of the configs of a checkpoint. Raises UsageError and MissingError as `load_editable` does.
    """
    controls: frozenset[AttentionControl] = getattr(
        _family(EDITABLE_FAMILIES, model, config)[1], "CONTROLS", frozenset()
    )
    return controls


def is_flow_model(model: str, config: Path | None = None) -> bool:
    """Return whether a model was trained by flow matching, without loading it.

    `config` is the folder of the configs of a checkpoint. Raises UsageError and MissingError as `load_editable` does.
    """
    return is_flow(read_object(_family(FAMILIES, model, config)[0].path / "scheduler" / "scheduler_config.json"))


def load_editable(
    model: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    offload: bool = False,
    loras: Sequence[LoraFile] = (),
    config: Path | None = None,
) -> EditableModel:
    """Load the text-conditioned model of a name (`fastdiff.models.catalogue.find`) onto a device, computing in `dtype`.

    With `offload`, one part occupies the device at a time: a text encoder, the network or the autoencoder. `loras`
    change the network and the text encoders together. With `config`, a model folder, `model` is a checkpoint in one
    file, whose weights replace those of the folder. Raises UsageError for an unknown family, a broken folder, or a file
    that does not fit; MissingError for a model that is not on this computer.
    """
    folder, module = _family(EDITABLE_FAMILIES, model, config)
    adapters = read_adapters(loras, folder)
    checkpoint = None if config is None else read_checkpoint(Path(model))
    components = Components(folder, torch.device(device), dtype, offload, adapters, checkpoint)
    editable: EditableModel = module.load(components, model)
    return editable


def load_model(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> DiffusionModel:
    """Load a model of any family, as `load_editable`; it may ignore prompts."""
    folder, module = _family(FAMILIES, model)
    loaded: DiffusionModel = module.load(Components(folder, torch.device(device), dtype, offload), model)
    return loaded


def _family(families: Mapping[str, str], model: str, config: Path | None = None) -> tuple[ModelFolder, Any]:
    """Return the folder of a model and the module of its family."""
    folder = read_folder(find(model, config))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    return folder, importlib.import_module(families[folder.pipeline])
