"""Stable Diffusion 1 and 2 (Rombach et al. 2022, arXiv 2112.10752) and XL (Podell et al. 2023, arXiv 2307.01952).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import ALL_CONTROLS, Conditioning, GuidanceKind
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel, check_fit, fields
from fastdiff.models.prompt_words import read_encodings

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerFast

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
# Token merging needs one grid of tokens; those of a U-Net differ between its resolutions.
CONTROLS = ALL_CONTROLS - {"token merging"}
COARSEST_MAPS = 2  # halvings of the latents to the grid of recorded maps: 16 x 16 of 64 x 64


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder with its tokenizer."""

    encoder: Any  # of CLIP, or of T5
    tokenizer: "PreTrainedTokenizerFast"

    def tokenized(self, texts: Sequence[str], longest: int) -> "BatchEncoding":
        """Tokenize prompts to sequences of `longest` tokens, padded or cut."""
        encoded: BatchEncoding = self.tokenizer(list(texts), padding="max_length", max_length=longest, truncation=True)
        return encoded


@dataclass(frozen=True)
class StableDiffusion(LatentDiffusionModel):
    """The `EditableModel` of the family. XL concatenates the embeddings of its two text encoders."""

    text_encoders: tuple[TextEncoder, ...]
    zeros_for_empty_prompt: bool  # whether the network was trained with zeros in place of the encoded empty prompt

    @cached_property
    def empty_prompt(self) -> Conditioning:
        """The unconditional prompt, of one row. A negative prompt "" is encoded, as the pipelines do."""
        encoded = self.encode_prompts([""])
        if encoded.pooled is None or not self.zeros_for_empty_prompt:
            return encoded
        return replace(
            encoded, embeddings=torch.zeros_like(encoded.embeddings), pooled=torch.zeros_like(encoded.pooled)
        )

    @property
    def guidance_kind(self) -> GuidanceKind:
        """Embedded in networks distilled with guidance, such as latent consistency models (arXiv 2310.04378)."""
        return "embedded" if self.network.config.time_cond_proj_dim else "classifier-free"

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        encoded = [each.tokenized(texts, each.tokenizer.model_max_length) for each in self.text_encoders]
        outputs = [
            self._outputs(each, encoding.input_ids) for each, encoding in zip(self.text_encoders, encoded, strict=True)
        ]
        embeddings = torch.cat([states for states, _ in outputs], dim=-1).to(self.network.dtype)
        attended = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=self.device)  # padding too
        pooled = outputs[-1][1] if self._is_xl else None
        return Conditioning(embeddings, attended, *read_encodings(texts, encoded[0]), pooled=pooled)

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        """A quarter of the latents, as in Prompt-to-Prompt and LEDITS++, or the coarsest finer level with prompts."""
        kinds = self.network.config.down_block_types
        halvings = min(COARSEST_MAPS, max(level for level, kind in enumerate(kinds) if "CrossAttn" in kind))
        return latents.shape[-2] >> halvings, latents.shape[-1] >> halvings

    @property
    def _is_xl(self) -> bool:
        return len(self.text_encoders) > 1

    @property
    def _stride(self) -> int:
        return 1 << (len(self.network.config.block_out_channels) - 1)

    def _outputs(self, each: TextEncoder, ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Return the states (B, L, D), for XL those before the last layer, and the pooled embedding (B, P)."""
        with self._at_work(each.encoder):
            out = each.encoder(torch.tensor(ids, device=self.device), output_hidden_states=self._is_xl)
        return out.hidden_states[-2] if self._is_xl else out.last_hidden_state, out[0]

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        """Return the embeddings, the guidance scales where the network embeds them, and conditions of XL.

        These are the pooled embedding and the time ids: original size, crop and target size.
        """
        conditions: dict[str, Tensor] = {}
        if prompts.pooled is not None:
            place = torch.tensor([[*size, 0, 0, *size]], dtype=self.network.dtype, device=self.device)
            conditions = {
                "text_embeds": prompts.pooled.to(self.network.dtype),
                "time_ids": place.expand(len(prompts), -1),
            }
        given = {"encoder_hidden_states": prompts.embeddings, "added_cond_kwargs": conditions}
        if prompts.guidance is None:
            return given
        return given | {"timestep_cond": self._guidance_embedding(prompts.guidance)}

    def _guidance_embedding(self, scales: Tensor) -> Tensor:
        """Embed guidance scales (B,) as networks were distilled with: sinusoidally, (B, D)."""
        from diffusers.models.embeddings import get_timestep_embedding

        width = self.network.config.time_cond_proj_dim
        return get_timestep_embedding(1000 * (scales - 1), width).to(self.network.dtype)


def load(components: Components, name: str) -> StableDiffusion:
    """Load the model from a folder whose pipeline is one of ENCODERS.

    Raises UsageError for a folder that is incomplete or names other classes.
    """
    unet = components.network("unet", UNETS)
    vae = components.autoencoder("vae")
    text_encoders = tuple(
        TextEncoder(
            components.text_encoder(f"text_encoder{end}", TEXT_ENCODERS),
            components.tokenizer(f"tokenizer{end}", TOKENIZERS),
        )
        for end in ["", "_2"][: ENCODERS[components.folder.pipeline]]
    )
    wanted = (unet.config.in_channels, unet.config.cross_attention_dim)
    check_fit(
        components, wanted, (vae.config.latent_channels, sum(each.encoder.config.hidden_size for each in text_encoders))
    )
    return StableDiffusion(
        **fields(components, name, unet, vae),
        text_encoders=text_encoders,
        zeros_for_empty_prompt=bool(components.folder.settings.get("force_zeros_for_empty_prompt", True)),
    )
