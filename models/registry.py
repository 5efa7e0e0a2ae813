"""Diffusion models by name: one line for every family, by the class that diffusers would make of the folder."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from fastdiff.models.catalogue import find
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.diffusion_model import DiffusionModel, TransformerModel
from fastdiff.solvers.errors import UsageError

# The pipeline that a folder names -> the module of its family, whose `load` takes the components and the name.
TRANSFORMER_FAMILIES = {
    "PixArtAlphaPipeline": "fastdiff.models.pixart",
    "PixArtSigmaPipeline": "fastdiff.models.pixart",
}
FAMILIES = {
    **TRANSFORMER_FAMILIES,
    "StableDiffusionPipeline": "fastdiff.models.stable_diffusion",
    "StableDiffusionXLPipeline": "fastdiff.models.stable_diffusion",
    "LDMPipeline": "fastdiff.models.unconditional",
}


def load_transformer(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> TransformerModel:
    """The backbone that a name stands for (`fastdiff.models.catalogue.find`), on a device, computing in `dtype`.

    With `offload` the text encoder and the autoencoder are on the device only while they work. Raises UsageError for
    an unknown family or a broken folder, MissingError for a model that is not here.
    """
    return _load(TRANSFORMER_FAMILIES, model, device, dtype, offload)


def load_model(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> DiffusionModel:
    """As `load_transformer`, of more families: it need not be a transformer, and need not hear prompts."""
    return _load(FAMILIES, model, device, dtype, offload)


def _load(families: Mapping[str, str], model: str, device: str, dtype: torch.dtype, offload: bool) -> Any:
    folder = read_folder(find(model))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    components = Components(folder, torch.device(device), dtype, offload)
    return importlib.import_module(families[folder.pipeline]).load(components, model)
