"""Unconditional latent diffusion models: a UNet and an autoencoder in the layout of diffusers' LDMPipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import Conditioning, GuidanceKind
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel, check_fit, fields

UNETS = {"diffusers.UNet2DModel": "diffusers.models.unets.unet_2d:UNet2DModel"}


@dataclass(frozen=True)
class Unconditional(LatentDiffusionModel):
    """The `DiffusionModel` of such a folder. It ignores prompts."""

    text_conditioned = False

    @property
    def guidance_kind(self) -> GuidanceKind:
        return "none"

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        nothing = torch.zeros(len(texts), 0, device=self.device)
        return Conditioning(
            nothing[..., None], nothing.bool(), ((),) * len(texts), ((),) * len(texts), ("",) * len(texts)
        )

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        return {}

    @property
    def _stride(self) -> int:
        return 1 << (len(self.network.config.block_out_channels) - 1)


def load(components: Components, name: str) -> Unconditional:
    """Load the model. Raises UsageError for a folder that is incomplete or names other classes."""
    unet = components.network("unet", UNETS)
    vae = components.autoencoder("vqvae")
    check_fit(components, (unet.config.in_channels,), (vae.config.latent_channels,))
    return Unconditional(**fields(components, name, unet, vae))
