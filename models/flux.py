"""FLUX.1 (Black Forest Labs 2024): a transformer with joint attention that was distilled with its guidance.

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fastdiff.models.catalogue import UNTOLD
from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import ALL_CONTROLS, Conditioning, GuidanceKind
from fastdiff.models.latent_diffusion_model import check_fit
from fastdiff.models.pixart import TEXT_ENCODERS as T5_ENCODERS, TOKENIZERS as T5_TOKENIZERS
from fastdiff.models.prompt_words import read_encodings
from fastdiff.models.scheduler_config import FLOW_MATCHING, TrainedScheduler, scheduler_from_config
from fastdiff.models.size_shifted_model import SizeShiftedModel
from fastdiff.models.stable_diffusion import TOKENIZERS as CLIP_TOKENIZERS, TextEncoder
from fastdiff.solvers.grids import time_to_clean

LONGEST = 512  # tokens of a prompt for T5, its end included
SAMPLE_SIZE, PATCH = (UNTOLD["FluxPipeline"][name] for name in ("sample_size", "patch_size"))
TRANSFORMERS = {
    "diffusers.FluxTransformer2DModel": "diffusers.models.transformers.transformer_flux:FluxTransformer2DModel"
}
CLIP_ENCODERS = {"transformers.CLIPTextModel": "transformers:CLIPTextModel"}
CONTROLS = ALL_CONTROLS - {"token merging"}


@dataclass(frozen=True)
class Flux(SizeShiftedModel):
    """The `EditableModel` of the family, whose attention is joint.

    The guidance scale is an input of the network, or the network was trained without any; there is no unconditional
    estimate. T5 encodes the tokens of a prompt, CLIP its pooled embedding.
    """

    clip: TextEncoder
    t5: TextEncoder

    @property
    def guidance_kind(self) -> GuidanceKind:
        return "embedded" if self.network.config.guidance_embeds else "none"

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        short = self.clip.tokenized(texts, self.clip.tokenizer.model_max_length)
        encoded = self.t5.tokenized(texts, LONGEST)
        with self._at_work(self.clip.encoder):
            pooled = self.clip.encoder(torch.tensor(short.input_ids, device=self.device)).pooler_output
        with self._at_work(self.t5.encoder):
            embeddings = self.t5.encoder(torch.tensor(encoded.input_ids, device=self.device)).last_hidden_state
        return Conditioning(
            embeddings.to(self.network.dtype),
            torch.ones(embeddings.shape[:2], dtype=torch.bool, device=self.device),  # the network attends to padding
            *read_encodings(texts, encoded, self.t5.tokenizer.unk_token_id),
            pooled=pooled.to(self.network.dtype),
        )

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        """Return embeddings and guidance scales, and the positions of the prompt's tokens, which are all zero."""
        return {
            "encoder_hidden_states": prompts.embeddings,
            "pooled_projections": prompts.pooled,
            "guidance": prompts.guidance,
            "txt_ids": prompts.embeddings.new_zeros(prompts.embeddings.shape[1], 3),
        }

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // PATCH, latents.shape[-1] // PATCH

    def predict(self, x: Tensor, timestep: Tensor, prompts: Conditioning, size: tuple[int, int]) -> Tensor:
        tokens, grid = _packed(x.to(self.network.dtype)), (x.shape[-2] // PATCH, x.shape[-1] // PATCH)
        given = {"img_ids": _positions(*grid).to(tokens), **self.network_arguments(prompts, size)}
        out: Tensor = self.network(tokens, timestep=timestep / 1000, **given, return_dict=False)[0]
        return pixel_shuffle(out.mT.unflatten(2, grid), PATCH).float()

    @classmethod
    def read_schedule(cls, config: Mapping[str, Any], tokens: int) -> TrainedScheduler:
        """Return the schedule; flow matching starts every step from equal times, the last from 1 / N."""
        trained = scheduler_from_config(config, tokens)
        return replace(trained, spacing=time_to_clean) if config.get("_class_name") in FLOW_MATCHING else trained

    @property
    def resolution(self) -> int:
        return SAMPLE_SIZE * self._factor

    @property
    def _stride(self) -> int:
        return PATCH


def load(components: Components, name: str) -> Flux:
    """Load the model from a folder.

    Raises UsageError for a folder that is incomplete or names other classes.
    """
    transformer = components.network("transformer", TRANSFORMERS)
    vae = components.autoencoder("vae")
    clip = TextEncoder(
        components.text_encoder("text_encoder", CLIP_ENCODERS), components.tokenizer("tokenizer", CLIP_TOKENIZERS)
    )
    t5 = TextEncoder(
        components.text_encoder("text_encoder_2", T5_ENCODERS), components.tokenizer("tokenizer_2", T5_TOKENIZERS)
    )
    config = transformer.config
    check_fit(
        components,
        (config.in_channels, config.joint_attention_dim, config.pooled_projection_dim),
        (PATCH**2 * vae.config.latent_channels, t5.encoder.config.d_model, clip.encoder.config.hidden_size),
    )
    return Flux(**Flux.read_fields(components, name, transformer, vae, (SAMPLE_SIZE // PATCH) ** 2), clip=clip, t5=t5)


def _packed(latents: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens (B, N, 4 C), row by row, each of PATCH x PATCH latents."""
    return pixel_unshuffle(latents, PATCH).flatten(2).mT


def _positions(rows: int, columns: int) -> Tensor:
    """Return the positions (N, 3) of a picture's tokens, row by row: 0, row and column."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns))
