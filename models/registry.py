"""Diffusion models by name: one line for every family, by the class that diffusers would make of the folder."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from fastdiff.models.backbone import Backbone, Prior
from fastdiff.models.catalogue import find
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.solvers.errors import UsageError

# The pipeline that a folder names -> the module of its family, whose `load` takes the components and the name.
BACKBONES = {
    "PixArtAlphaPipeline": "fastdiff.models.pixart",
    "PixArtSigmaPipeline": "fastdiff.models.pixart",
}
PRIORS = {
    **BACKBONES,
    "StableDiffusionPipeline": "fastdiff.models.stable_diffusion",
    "StableDiffusionXLPipeline": "fastdiff.models.stable_diffusion",
    "LDMPipeline": "fastdiff.models.unconditional",
}


def load(model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False) -> Backbone:
    """The backbone that a name stands for (`fastdiff.models.catalogue.find`), on a device, computing in `dtype`.

    With `offload` the text encoder and the autoencoder are on the device only while they work. Raises UsageError for
    an unknown family or a broken folder, MissingError for a model that is not here.
    """
    return _load(BACKBONES, model, device, dtype, offload)


def load_prior(model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False) -> Prior:
    """As `load`, of more families: it need not be a transformer, and need not hear prompts."""
    return _load(PRIORS, model, device, dtype, offload)


def _load(families: Mapping[str, str], model: str, device: str, dtype: torch.dtype, offload: bool) -> Any:
    folder = read_folder(find(model))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    components = Components(folder, torch.device(device), dtype, offload)
    return importlib.import_module(families[folder.pipeline]).load(components, model)
