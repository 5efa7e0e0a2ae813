"""Diffusion models by name: one line for every family, by the class that diffusers would make of the folder."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

from fastdiff.models.backbone import Backbone, Prior
from fastdiff.models.catalogue import find
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.pixart import load_pixart
from fastdiff.models.stable_diffusion import load_stable_diffusion
from fastdiff.models.unconditional import load_unconditional
from fastdiff.solvers.errors import UsageError

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "PixArtAlphaPipeline": load_pixart,
    "PixArtSigmaPipeline": load_pixart,
}
PRIORS: dict[str, Callable[..., Prior]] = {
    **BACKBONES,
    "StableDiffusionPipeline": load_stable_diffusion,
    "StableDiffusionXLPipeline": load_stable_diffusion,
    "LDMPipeline": load_unconditional,
}
Model = TypeVar("Model", bound=Prior)


def load(model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False) -> Backbone:
    """The backbone that a name stands for (`fastdiff.models.catalogue.find`), on a device, computing in `dtype`.

    With `offload` the text encoder and the autoencoder are on the device only while they work. Raises UsageError for
    an unknown family or a broken folder, MissingError for a model that is not here.
    """
    return _load(BACKBONES, model, device, dtype, offload)


def load_prior(model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False) -> Prior:
    """As `load`, of more families: it need not be a transformer, and need not hear prompts."""
    return _load(PRIORS, model, device, dtype, offload)


def _load(
    families: Mapping[str, Callable[..., Model]], model: str, device: str, dtype: torch.dtype, offload: bool
) -> Model:
    folder = read_folder(find(model))
    if folder.pipeline not in families:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(families)} is supported")
    return families[folder.pipeline](folder, model, torch.device(device), dtype, offload=offload)
