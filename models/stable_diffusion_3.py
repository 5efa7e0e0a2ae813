"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv 2403.03206).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers, which may lack the T5
text encoder, the largest of three.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import ALL_CONTROLS, Conditioning
from fastdiff.models.latent_diffusion_model import check_fit
from fastdiff.models.pixart import TEXT_ENCODERS as T5_ENCODERS, TOKENIZERS as T5_TOKENIZERS
from fastdiff.models.prompt_words import join_encodings
from fastdiff.models.size_shifted_model import SizeShiftedModel
from fastdiff.models.stable_diffusion import TOKENIZERS as CLIP_TOKENIZERS, TextEncoder
from fastdiff.solvers.errors import UsageError

LONGEST = 256  # tokens of a prompt for T5, its end included
TRANSFORMERS = {
    "diffusers.SD3Transformer2DModel": "diffusers.models.transformers.transformer_sd3:SD3Transformer2DModel"
}
CLIP_ENCODERS = {"transformers.CLIPTextModelWithProjection": "transformers:CLIPTextModelWithProjection"}
CONTROLS = ALL_CONTROLS - {"token merging"}


@dataclass(frozen=True)
class StableDiffusion3(SizeShiftedModel):
    """The `EditableModel` of the family, whose attention is joint.

    The tokens of a prompt are those of CLIP, whose two encoders share them, and then LONGEST ones of T5, which are
    zeros where its encoder is absent. The transformer attends to all of them, padding included.
    """

    text_encoders: tuple[TextEncoder, TextEncoder]  # of CLIP
    t5: TextEncoder | None

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        encoded = [each.tokenized(texts, each.tokenizer.model_max_length) for each in self.text_encoders]
        outputs = [self._clip(each, ids.input_ids) for each, ids in zip(self.text_encoders, encoded, strict=True)]
        states, pooled = (torch.cat(each, dim=-1) for each in zip(*outputs, strict=True))
        width, read = self.network.config.joint_attention_dim, encoded[:1]
        long = states.new_zeros(len(texts), LONGEST, width)
        if self.t5 is not None:
            read = [*read, self.t5.tokenized(texts, LONGEST)]
            with self._at_work(self.t5.encoder):
                long = self.t5.encoder(torch.tensor(read[1].input_ids, device=self.device)).last_hidden_state
        embeddings = torch.cat([pad(states, (0, width - states.shape[-1])), long], dim=1).to(self.network.dtype)
        attended = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=self.device)
        return Conditioning(
            embeddings,
            attended,
            *join_encodings(texts, read),
            pooled=pooled.to(self.network.dtype),
            starts=(0, states.shape[1]),
        )

    def _clip(self, each: TextEncoder, ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Return the states (B, L, D) before the last layer, and the pooled embedding (B, P)."""
        with self._at_work(each.encoder):
            out = each.encoder(torch.tensor(ids, device=self.device), output_hidden_states=True)
        return out.hidden_states[-2], out.text_embeds

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        return {"encoder_hidden_states": prompts.embeddings, "pooled_projections": prompts.pooled}

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // self._stride, latents.shape[-1] // self._stride

    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures. Raises UsageError for sides beyond the positions of the transformer."""
        longest = self.network.config.pos_embed_max_size * self.size_multiple
        if max(pictures.shape[-2:]) > longest:
            height, width = pictures.shape[-2:]
            raise UsageError(f"{self.name} takes sides of up to {longest} pixels, and not {width} x {height}")
        return super().encode(pictures)

    @property
    def _stride(self) -> int:
        return int(self.network.config.patch_size)


def load(components: Components, name: str) -> StableDiffusion3:
    """Load the model from a folder.

    Raises UsageError for a folder that is incomplete or names other classes.
    """
    transformer = components.network("transformer", TRANSFORMERS)
    vae = components.autoencoder("vae")
    first, second = (
        TextEncoder(
            components.text_encoder(f"text_encoder{end}", CLIP_ENCODERS),
            components.tokenizer(f"tokenizer{end}", CLIP_TOKENIZERS),
        )
        for end in ("", "_2")
    )
    t5 = None
    if "text_encoder_3" in components.folder.parts:
        t5 = TextEncoder(
            components.text_encoder("text_encoder_3", T5_ENCODERS), components.tokenizer("tokenizer_3", T5_TOKENIZERS)
        )
    config = transformer.config
    width = config.joint_attention_dim if t5 is None else t5.encoder.config.d_model
    pooled = first.encoder.config.projection_dim + second.encoder.config.projection_dim
    check_fit(
        components,
        (config.in_channels, config.joint_attention_dim, config.pooled_projection_dim),
        (vae.config.latent_channels, width, pooled),
    )
    tokens = (config.sample_size // config.patch_size) ** 2
    return StableDiffusion3(
        **StableDiffusion3.read_fields(components, name, transformer, vae, tokens),
        text_encoders=(first, second),
        t5=t5,
    )
