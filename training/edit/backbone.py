"""The untrained backbone of edit: a PixArt transformer and its text encoder."""

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.scenes import KINDS

SPECIAL = ("<pad>", "</s>", "<unk>")
TOKENS = 8  # tokens of the transformer along a side of a scene
LONGEST = 16  # tokens of a caption: the longest have 12
ZERO = ("bias", "scale_shift_table", "adaln_single.linear.weight", "attn2.to_out.0.weight", "proj_out.weight")


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of the captions; `<unk>` for any other word."""
    words = {word for name in CONCEPTS for word in name.split()} | set(COLOURS) | set(KINDS)
    words |= {"a", "an", "and", "on", "background"}
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *sorted(words)))}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", vocabulary["</s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LONGEST
    )


class Backbone(nn.Module):
    """The two networks that are trained together: 11.5 M parameters. `sample_size` is a multiple of TOKENS."""

    def __init__(self, words: int, latent_channels: int, sample_size: int):
        super().__init__()
        self.text_encoder = T5EncoderModel(
            T5Config(
                vocab_size=words,
                d_model=128,
                d_kv=32,
                d_ff=256,
                num_layers=2,
                num_heads=4,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
            )
        )
        self.transformer = PixArtTransformer2DModel(
            num_attention_heads=4,
            attention_head_dim=64,
            num_layers=10,
            in_channels=latent_channels,
            out_channels=latent_channels,
            sample_size=sample_size,
            patch_size=sample_size // TOKENS,
            cross_attention_dim=256,
            caption_channels=128,
        )
        _initialise(self.transformer)

    def matrices(self) -> list[nn.Parameter]:
        """The weights of the transformer's linear layers, without embeddings and modulation tables."""
        blocks = self.transformer.transformer_blocks.named_parameters()
        return [weight for name, weight in blocks if name.endswith("weight") and weight.ndim == 2]

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Latents (B, C, H, W) at training steps (B,), and tokens (B, L), to the prediction (B, C, H, W)."""
        mask = tokens != 0
        words = self.text_encoder(tokens, attention_mask=mask).last_hidden_state  # (B, L, 128)
        return self.transformer(noisy, words, t, encoder_attention_mask=mask).sample


@torch.no_grad()
def _initialise(net: PixArtTransformer2DModel) -> None:
    """Every block is the identity at first (Peebles & Xie 2023, arXiv 2212.09748, "adaLN-Zero")."""
    for name, weight in net.named_parameters():
        if name.endswith(ZERO):
            nn.init.zeros_(weight)
        elif "timestep_embedder" in name:
            nn.init.normal_(weight, std=0.02)
        else:
            nn.init.xavier_uniform_(weight.flatten(1))
