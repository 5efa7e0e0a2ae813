"""Stable Diffusion 1 and 2 (Rombach et al. 2022, arXiv 2112.10752) and XL (Podell et al. 2023, arXiv 2307.01952).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedTokenizerFast

from fastdiff.models.backbone import Prompts
from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.latent import AUTOENCODERS, Latent, fields
from fastdiff.models.parts import load_network, load_tokenizer
from fastdiff.models.words import spoken
from fastdiff.solvers.errors import UsageError

UNETS = {"diffusers.UNet2DConditionModel": UNet2DConditionModel}
TEXT_ENCODERS = {
    "transformers.CLIPTextModel": CLIPTextModel,
    "transformers.CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
TOKENIZERS = {"transformers.CLIPTokenizer": CLIPTokenizer, "transformers.CLIPTokenizerFast": CLIPTokenizer}
ENCODERS = {  # how many text encoders a pipeline has
    "StableDiffusionPipeline": 1,
    "StableDiffusionXLPipeline": 2,
}


@dataclass(frozen=True)
class Ear:
    """A text encoder with its tokenizer."""

    encoder: Any  # of CLIP
    tokenizer: PreTrainedTokenizerFast


@dataclass(frozen=True)
class StableDiffusion(Latent):
    """The `Prior` of the family. With two ears (XL) their embeddings stand side by side."""

    ears: tuple[Ear, ...]

    def read(self, texts: Sequence[str]) -> Prompts:
        told = [
            ear.tokenizer(list(texts), padding="max_length", max_length=ear.tokenizer.model_max_length, truncation=True)
            for ear in self.ears
        ]
        heard = [self._heard(ear, encoding.input_ids) for ear, encoding in zip(self.ears, told, strict=True)]
        first = told[0]
        embeddings = torch.cat([states for states, _ in heard], dim=-1).to(self.network.dtype)
        mask = torch.tensor(first.attention_mask, dtype=torch.bool, device=self.device)
        pooled = heard[-1][1] if self._is_xl else None
        return Prompts(embeddings, mask, *spoken(texts, first), pooled=pooled)

    @property
    def _is_xl(self) -> bool:
        return len(self.ears) > 1

    @property
    def _stride(self) -> int:
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    def _heard(self, ear: Ear, ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """States (B, L, D), of XL those before the last layer, and the whole (B, P)."""
        with self._at_work(ear.encoder):
            out = ear.encoder(torch.tensor(ids, device=self.device), output_hidden_states=self._is_xl)
        return out.hidden_states[-2] if self._is_xl else out.last_hidden_state, out[0]

    def network_arguments(self, prompts: Prompts, size: tuple[int, int]) -> dict[str, Any]:
        """Embeddings, and for XL the pooled ones and the picture's size, twice, with the place it was cut from."""
        told: dict[str, Tensor] = {}
        if prompts.pooled is not None:
            place = torch.tensor([[*size, 0, 0, *size]], dtype=self.network.dtype, device=self.device)
            told = {"text_embeds": prompts.pooled.to(self.network.dtype), "time_ids": place.expand(len(prompts), -1)}
        return {"encoder_hidden_states": prompts.embeddings, "added_cond_kwargs": told}


def load_stable_diffusion(
    folder: ModelFolder, name: str, device: torch.device, dtype: torch.dtype, *, offload: bool = False
) -> StableDiffusion:
    """The prior in a folder whose pipeline is one of ENCODERS.

    The autoencoder is float32 whatever `dtype` is: that of XL overflows in float16. Raises UsageError for a folder that
    is not whole or asks for other classes.
    """
    unet = load_network(folder, "unet", UNETS, dtype)
    vae = load_network(folder, "vae", AUTOENCODERS, torch.float32)
    ends = ["", "_2"][: ENCODERS[folder.pipeline]]
    encoders = [load_network(folder, f"text_encoder{end}", TEXT_ENCODERS, dtype) for end in ends]
    ears = tuple(
        Ear(encoder if offload else encoder.to(device), load_tokenizer(folder, f"tokenizer{end}", TOKENIZERS))
        for encoder, end in zip(encoders, ends, strict=True)
    )
    wanted = (unet.config.in_channels, unet.config.cross_attention_dim)
    given = (vae.config.latent_channels, sum(encoder.config.hidden_size for encoder in encoders))
    if wanted != given:
        raise UsageError(f"the parts of {folder.path} do not fit: channels {wanted} are wanted, and {given} are given")
    return StableDiffusion(**fields(folder, name, unet, vae, device, offload), ears=ears)
