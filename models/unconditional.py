"""Priors that hear no prompt: a UNet in the latents of an autoencoder, in the layout of diffusers' LDMPipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from fastdiff.models.backbone import Prompts
from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.latent import AUTOENCODERS, Latent, fields
from fastdiff.models.parts import load_network
from fastdiff.solvers.errors import UsageError

UNETS = {"diffusers.UNet2DModel": UNet2DModel}


@dataclass(frozen=True)
class Unconditional(Latent):
    """The `Prior` of such a folder. Prompts are read, and mean nothing."""

    hears = False
    guidance_kind = "none"

    def read(self, texts: Sequence[str]) -> Prompts:
        nothing = torch.zeros(len(texts), 0, device=self.device)
        return Prompts(nothing[..., None], nothing.bool(), ((),) * len(texts), ((),) * len(texts), ("",) * len(texts))

    def network_arguments(self, prompts: Prompts, size: tuple[int, int]) -> dict[str, Any]:
        return {}

    @property
    def _stride(self) -> int:
        return 2 ** (len(self.network.config.block_out_channels) - 1)


def load_unconditional(
    folder: ModelFolder, name: str, device: torch.device, dtype: torch.dtype, *, offload: bool = False
) -> Unconditional:
    """Raises UsageError for a folder that is not whole or asks for other classes."""
    unet = load_network(folder, "unet", UNETS, dtype)
    vae = load_network(folder, "vqvae", AUTOENCODERS, torch.float32)
    wanted, given = unet.config.in_channels, vae.config.latent_channels
    if wanted != given:
        raise UsageError(f"the parts of {folder.path} do not fit: {wanted} channels are wanted, and {given} are given")
    return Unconditional(**fields(folder, name, unet, vae, device, offload))
