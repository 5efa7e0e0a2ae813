"""Stable Diffusion 1 and 2 (Rombach et al. 2022, arXiv 2112.10752) and XL (Podell et al. 2023, arXiv 2307.01952).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastdiff.models.backbone import Prompts
from fastdiff.models.component_loading import Components
from fastdiff.models.latent import Latent, check_fit, fields
from fastdiff.models.prompt_tokenizer import PromptTokenizer
from fastdiff.models.words import spoken

UNETS = {"diffusers.UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition:UNet2DConditionModel"}
TEXT_ENCODERS = {
    "transformers.CLIPTextModel": "transformers:CLIPTextModel",
    "transformers.CLIPTextModelWithProjection": "transformers:CLIPTextModelWithProjection",
}
TOKENIZERS = {
    "transformers.CLIPTokenizer": "transformers:CLIPTokenizer",
    "transformers.CLIPTokenizerFast": "transformers:CLIPTokenizer",
}
ENCODERS = {  # how many text encoders a pipeline has
    "StableDiffusionPipeline": 1,
    "StableDiffusionXLPipeline": 2,
}


@dataclass(frozen=True)
class Ear:
    """A text encoder with its tokenizer."""

    encoder: Any  # of CLIP
    tokenizer: PromptTokenizer


@dataclass(frozen=True)
class StableDiffusion(Latent):
    """The `Prior` of the family. With two ears (XL) their embeddings stand side by side."""

    ears: tuple[Ear, ...]

    def read(self, texts: Sequence[str]) -> Prompts:
        told = [ear.tokenizer.encode(texts) for ear in self.ears]
        heard = [self._heard(ear, [each.ids for each in found]) for ear, found in zip(self.ears, told, strict=True)]
        first = told[0]
        embeddings = torch.cat([states for states, _ in heard], dim=-1).to(self.network.dtype)
        mask = torch.tensor([each.attention_mask for each in first], dtype=torch.bool, device=self.device)
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


def load(components: Components, name: str) -> StableDiffusion:
    """The prior in a folder whose pipeline is one of ENCODERS.

    Raises UsageError for a folder that is not whole or asks for other classes.
    """
    unet = components.network("unet", UNETS)
    vae = components.autoencoder("vae")
    ears = tuple(
        Ear(
            components.text_encoder(f"text_encoder{end}", TEXT_ENCODERS),
            components.tokenizer(f"tokenizer{end}", TOKENIZERS),
        )
        for end in ["", "_2"][: ENCODERS[components.folder.pipeline]]
    )
    wanted = (unet.config.in_channels, unet.config.cross_attention_dim)
    check_fit(components, wanted, (vae.config.latent_channels, sum(ear.encoder.config.hidden_size for ear in ears)))
    return StableDiffusion(**fields(components, name, unet, vae), ears=ears)
