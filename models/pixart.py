"""PixArt-alpha (Chen et al. 2023, arXiv 2310.00426) and PixArt-Sigma (Chen et al. 2024, arXiv 2403.04692).

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel, T5Tokenizer

from fastdiff.models.backbone import Prompts
from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.latent import AUTOENCODERS, Latent, fields
from fastdiff.models.parts import load_network, load_tokenizer
from fastdiff.models.words import spoken
from fastdiff.solvers.errors import UsageError

LONGEST = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}  # tokens of a prompt in training
TRANSFORMERS = {
    "diffusers.PixArtTransformer2DModel": PixArtTransformer2DModel,
    "diffusers.Transformer2DModel": PixArtTransformer2DModel,  # its name in the first published folders
}
TEXT_ENCODERS = {"transformers.T5EncoderModel": T5EncoderModel}
TOKENIZERS = {
    "transformers.T5Tokenizer": T5Tokenizer,
    "transformers.T5TokenizerFast": T5Tokenizer,
    "transformers.PreTrainedTokenizerFast": PreTrainedTokenizerFast,
    "transformers.TokenizersBackend": PreTrainedTokenizerFast,
}


@dataclass(frozen=True)
class PixArt(Latent):
    """The `Backbone` of the PixArt family."""

    text_encoder: Any  # T5EncoderModel
    tokenizer: PreTrainedTokenizerFast
    longest: int  # tokens of a prompt, the end of it among them

    def read(self, texts: Sequence[str]) -> Prompts:
        cleaned = [text.lower().strip() for text in texts]
        told = self.tokenizer(cleaned, padding="max_length", max_length=self.longest, truncation=True)
        tokens = torch.tensor(told.input_ids, device=self.device)
        mask = torch.tensor(told.attention_mask, dtype=torch.bool, device=self.device)
        with self._at_work(self.text_encoder):
            embeddings = self.text_encoder(tokens, attention_mask=mask).last_hidden_state
        return Prompts(embeddings.to(self.network.dtype), mask, *spoken(cleaned, told, self.tokenizer.unk_token_id))

    def token_grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // self._stride, latents.shape[-1] // self._stride

    @property
    def _stride(self) -> int:
        return self.network.config.patch_size

    def network_arguments(self, prompts: Prompts, size: tuple[int, int]) -> dict[str, Any]:
        """Embeddings and mask, and the micro-conditions of PixArt-alpha at 1024 pixels: size and height / width."""
        told: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:
            rows, (height, width) = len(prompts), size
            told = {
                "resolution": torch.tensor([[height, width]], dtype=torch.float32, device=self.device).expand(rows, -1),
                "aspect_ratio": torch.tensor([[height / width]], device=self.device).expand(rows, -1),
            }
        return {
            "encoder_hidden_states": prompts.embeddings,
            "encoder_attention_mask": prompts.mask,
            "added_cond_kwargs": told,
        }


def load_pixart(
    folder: ModelFolder, name: str, device: torch.device, dtype: torch.dtype, *, offload: bool = False
) -> PixArt:
    """The backbone in a folder whose pipeline is one of LONGEST.

    The autoencoder is float32 whatever `dtype` is: that of PixArt-Sigma overflows in float16. Raises UsageError for a
    folder that is not whole or asks for other classes.
    """
    transformer = load_network(folder, "transformer", TRANSFORMERS, dtype)
    vae = load_network(folder, "vae", AUTOENCODERS, torch.float32)
    text_encoder = load_network(folder, "text_encoder", TEXT_ENCODERS, dtype)
    tokenizer = load_tokenizer(folder, "tokenizer", TOKENIZERS)
    _check_fit(folder, transformer, vae, text_encoder)
    return PixArt(
        **fields(folder, name, transformer, vae, device, offload),
        text_encoder=text_encoder if offload else text_encoder.to(device),
        tokenizer=tokenizer,
        longest=min(LONGEST[folder.pipeline], tokenizer.model_max_length),
    )


def _check_fit(folder: ModelFolder, transformer: Any, vae: Any, text_encoder: Any) -> None:
    wanted = (transformer.config.in_channels, transformer.config.caption_channels)
    given = (vae.config.latent_channels, text_encoder.config.d_model)
    if wanted != given:
        raise UsageError(f"the parts of {folder.path} do not fit: channels {wanted} are wanted, and {given} are given")
