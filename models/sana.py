"""Sana (Xie et al. 2024, arXiv 2410.10629): linear attention, a deep autoencoder and a language model for prompts.

The networks are those of diffusers and transformers, from a folder in the layout of diffusers.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastdiff.models.component_loading import Components
from fastdiff.models.diffusion_model import ALL_CONTROLS, Conditioning
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel, check_fit, fields
from fastdiff.models.prompt_words import read_after

if TYPE_CHECKING:
    from transformers import Gemma2Model, PreTrainedTokenizerFast

LONGEST = 300  # tokens of a prompt in training, its start included
TRANSFORMERS = {
    "diffusers.SanaTransformer2DModel": "diffusers.models.transformers.sana_transformer:SanaTransformer2DModel"
}
TEXT_ENCODERS = {"transformers.Gemma2Model": "transformers:Gemma2Model"}
TOKENIZERS = {
    "transformers.GemmaTokenizer": "transformers:GemmaTokenizer",
    "transformers.GemmaTokenizerFast": "transformers:GemmaTokenizer",
    "transformers.PreTrainedTokenizerFast": "transformers:PreTrainedTokenizerFast",
    "transformers.TokenizersBackend": "transformers:PreTrainedTokenizerFast",
}
CONTROLS = ALL_CONTROLS


@dataclass(frozen=True)
class Sana(LatentDiffusionModel):
    """The `EditableModel` of the family.

    The language model reads every prompt after an instruction (section 2.3), but not the empty prompt and negative
    ones. The network receives the first token and the LONGEST - 1 last ones, which are those of the prompt.
    """

    text_encoder: "Gemma2Model"
    tokenizer: "PreTrainedTokenizerFast"
    instruction: str  # before every prompt that is not negative

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        cleaned = [text.lower().strip() for text in texts]
        return Conditioning.cat(*(self._encode(self.instruction if text else "", text) for text in cleaned))

    def encode_negative_prompts(self, texts: Sequence[str]) -> Conditioning:
        return Conditioning.cat(*(self._encode("", text.lower().strip()) for text in texts))

    def _encode(self, before: str, text: str) -> Conditioning:
        length = LONGEST + (len(self.tokenizer.encode(before)) - 2 if before else 0)
        encoded = self.tokenizer(
            [before + text], padding="max_length", max_length=length, truncation=True, padding_side="right"
        )
        tokens = torch.tensor(encoded.input_ids, device=self.device)
        mask = torch.tensor(encoded.attention_mask, device=self.device)
        with self._at_work(self.text_encoder):
            embeddings = self.text_encoder(tokens, attention_mask=mask).last_hidden_state
        taken = [0, *range(length - LONGEST + 1, length)]
        return Conditioning(
            embeddings[:, taken].to(self.network.dtype),
            mask[:, taken].bool(),
            *read_after(before, text, encoded[0], taken, self.tokenizer.unk_token_id),
        )

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> dict[str, Any]:
        return {"encoder_hidden_states": prompts.embeddings, "encoder_attention_mask": prompts.mask}

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // self._stride, latents.shape[-1] // self._stride

    def embed(self, latents: Tensor) -> Tensor:
        self._bring_network()
        tokens: Tensor = self.network.patch_embed(latents.to(self.network.dtype))
        return tokens

    def _encoded(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(pictures).latent
        return latents

    @property
    def _stride(self) -> int:
        return int(self.network.config.patch_size)

    @property
    def _factor(self) -> int:
        return 1 << (len(self.vae.config.encoder_block_out_channels) - 1)


def load(components: Components, name: str) -> Sana:
    """Load the model from a folder.

    Raises UsageError for a folder that is incomplete or names other classes.
    """
    from diffusers.pipelines.sana.pipeline_sana import SanaPipeline

    transformer = components.network("transformer", TRANSFORMERS)
    vae = components.autoencoder("vae")
    text_encoder = components.text_encoder("text_encoder", TEXT_ENCODERS)
    tokenizer = components.tokenizer("tokenizer", TOKENIZERS)
    wanted = (transformer.config.in_channels, transformer.config.caption_channels)
    check_fit(components, wanted, (vae.config.latent_channels, text_encoder.config.hidden_size))
    instruction = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    return Sana(
        **fields(components, name, transformer, vae),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        instruction="\n".join(instruction),
    )
