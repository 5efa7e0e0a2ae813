"""Diffusion models by name: one line per family, keyed by the pipeline class that a model folder names."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from fastdiff.models.catalogue import find
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusers_folder import ModelFolder, read_folder
from fastdiff.models.diffusion_model import AttentionControl, DiffusionModel, EditableModel
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


def attention_controls(model: str) -> frozenset[AttentionControl]:
    """Return the kinds of attention control that the networks of a model's family allow, without loading the model.

    Raises UsageError and MissingError as `load_editable` does.
    """
    controls: frozenset[AttentionControl] = getattr(_family(EDITABLE_FAMILIES, model)[1], "CONTROLS", frozenset())
    return controls


def load_editable(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> EditableModel:
    """Load the text-conditioned model of a name (`fastdiff.models.catalogue.find`) onto a device, computing in `dtype`.

    With `offload`, one part occupies the device at a time: a text encoder, the network or the autoencoder. Raises
    UsageError for an unknown family or a broken folder, MissingError for a model that is not on this computer.
    """
    editable: EditableModel = _load(EDITABLE_FAMILIES, model, device, dtype, offload)
    return editable


def load_model(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> DiffusionModel:
    """Load a model of any family, as `load_editable`; it may ignore prompts."""
    loaded: DiffusionModel = _load(FAMILIES, model, device, dtype, offload)
    return loaded


def _load(families: Mapping[str, str], model: str, device: str, dtype: torch.dtype, offload: bool) -> Any:
    folder, module = _family(families, model)
    return module.load(Components(folder, torch.device(device), dtype, offload), model)


def _family(families: Mapping[str, str], model: str) -> tuple[ModelFolder, Any]:
    """Return the folder of a model and the module of its family."""
    folder = read_folder(find(model))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    return folder, importlib.import_module(families[folder.pipeline])
