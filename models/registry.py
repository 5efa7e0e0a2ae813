"""Diffusion models by name: one line per family, keyed by the pipeline class that a model folder names."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from fastdiff.models.catalogue import find
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.diffusion_model import DiffusionModel, TransformerModel
from fastdiff.solvers.errors import UsageError

# Pipeline class in model_index.json -> module of the family, whose `load` takes the components and the model's name.
# `edit` loads transformer families alone.
TRANSFORMER_FAMILIES = {
    "PixArtAlphaPipeline": "fastdiff.models.pixart",
    "PixArtSigmaPipeline": "fastdiff.models.pixart",
    "StableDiffusion3Pipeline": "fastdiff.models.stable_diffusion_3",
    "SanaPipeline": "fastdiff.models.sana",
    "FluxPipeline": "fastdiff.models.flux",
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
    """Load the transformer model of a name (`fastdiff.models.catalogue.find`) onto a device, computing in `dtype`.

    With `offload`, the text encoder and the autoencoder occupy the device only while they run. Raises UsageError for
    an unknown family or a broken folder, MissingError for a model that is not on this computer.
    """
    transformer: TransformerModel = _load(TRANSFORMER_FAMILIES, model, device, dtype, offload)
    return transformer


def load_model(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> DiffusionModel:
    """Load a model of any family, as `load_transformer`; it may be a UNet, and may ignore prompts."""
    loaded: DiffusionModel = _load(FAMILIES, model, device, dtype, offload)
    return loaded


def _load(families: Mapping[str, str], model: str, device: str, dtype: torch.dtype, offload: bool) -> Any:
    folder = read_folder(find(model))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    components = Components(folder, torch.device(device), dtype, offload)
    return importlib.import_module(families[folder.pipeline]).load(components, model)
