"""PixArt-alpha (Chen et al. 2023, arXiv 2310.00426) and PixArt-Sigma (Chen et al. 2024, arXiv 2403.04692).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import ALL_CONTROLS, Conditioning
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel, check_fit, fields
from fastdiff.models.prompt_words import read_encodings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

LONGEST = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}  # tokens of a prompt in training, its end included
TRANSFORMER = "diffusers.models.transformers.pixart_transformer_2d:PixArtTransformer2DModel"
TRANSFORMERS = {
    "diffusers.PixArtTransformer2DModel": TRANSFORMER,
    "diffusers.Transformer2DModel": TRANSFORMER,  # its name in the first published folders
}
TEXT_ENCODERS = {"transformers.T5EncoderModel": "transformers:T5EncoderModel"}
TOKENIZERS = {
    "transformers.T5Tokenizer": "transformers:T5Tokenizer",
    "transformers.T5TokenizerFast": "transformers:T5Tokenizer",
    "transformers.PreTrainedTokenizerFast": "transformers:PreTrainedTokenizerFast",
    "transformers.TokenizersBackend": "transformers:PreTrainedTokenizerFast",
}
CONTROLS = ALL_CONTROLS


@dataclass(frozen=True)
class PixArt(LatentDiffusionModel):
    """The `EditableModel` of the PixArt family."""

    text_encoder: "T5EncoderModel"
    tokenizer: "PreTrainedTokenizerFast"
    longest: int  # tokens of a prompt, its end included

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        cleaned = [text.lower().strip() for text in texts]
        encoded = self.tokenizer(cleaned, padding="max_length", max_length=self.longest, truncation=True)
        tokens = torch.tensor(encoded.input_ids, device=self.device)
        mask = torch.tensor(encoded.attention_mask, dtype=torch.bool, device=self.device)
        with self._at_work(self.text_encoder):
            embeddings = self.text_encoder(tokens, attention_mask=mask).last_hidden_state
        return Conditioning(
            embeddings.to(self.network.dtype), mask, *read_encodings(cleaned, encoded, self.tokenizer.unk_token_id)
        )

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // self._stride, latents.shape[-1] // self._stride

    def embed(self, latents: Tensor) -> Tensor:
        self._bring_network()
        tokens: Tensor = self.network.pos_embed(latents.to(self.network.dtype))
        return tokens

    @property
    def _stride(self) -> int:
        return int(self.network.config.patch_size)

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        """Return embeddings and mask, and PixArt-alpha's micro-conditions at 1024 pixels: size and aspect ratio."""
        conditions: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:
            rows, (height, width) = len(prompts), size
            conditions = {
                "resolution": torch.tensor([[height, width]], dtype=torch.float32, device=self.device).expand(rows, -1),
                "aspect_ratio": torch.tensor([[height / width]], device=self.device).expand(rows, -1),
            }
        return {
            "encoder_hidden_states": prompts.embeddings,
            "encoder_attention_mask": prompts.mask,
            "added_cond_kwargs": conditions,
        }


def load(components: Components, name: str) -> PixArt:
    """Load the model from a folder whose pipeline is one of LONGEST.

    Raises UsageError for a folder that is incomplete or names other classes.
    """
    transformer = components.network("transformer", TRANSFORMERS)
    vae = components.autoencoder("vae")
    text_encoder = components.text_encoder("text_encoder", TEXT_ENCODERS)
    tokenizer = components.tokenizer("tokenizer", TOKENIZERS)
    wanted = (transformer.config.in_channels, transformer.config.caption_channels)
    check_fit(components, wanted, (vae.config.latent_channels, text_encoder.config.d_model))
    return PixArt(
        **fields(components, name, transformer, vae),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        longest=min(LONGEST[components.folder.pipeline], tokenizer.model_max_length),
    )
