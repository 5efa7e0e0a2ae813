"""Backbones by name: one line for every family, by the class that diffusers would make of the folder."""

import torch

from fastdiff.models.backbone import Backbone
from fastdiff.models.catalogue import find
from fastdiff.models.diffusers_folder import read_folder
from fastdiff.models.pixart import load_pixart
from fastdiff.solvers.errors import UsageError

FAMILIES = {
    "PixArtAlphaPipeline": load_pixart,
    "PixArtSigmaPipeline": load_pixart,
}


def load(
    model: str, device: str = "cpu", dtype: torch.dtype = torch.float32, *, offload: bool = False
) -> Backbone:
    """The backbone that a name stands for (`fastdiff.models.catalogue.find`), on a device, computing in `dtype`.

    With `offload` the text encoder and the autoencoder are on the device only while they work. Raises UsageError for
    an unknown family or a broken folder, MissingError for a model that is not here.
    """
    folder = read_folder(find(model))
    if folder.pipeline not in FAMILIES:
        raise UsageError(f"{model} is a {folder.pipeline}: one of {', '.join(FAMILIES)} is supported")
    return FAMILIES[folder.pipeline](folder, model, torch.device(device), dtype, offload=offload)
