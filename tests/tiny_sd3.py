"""Stable Diffusion 3 small enough for a test: the real classes, with random weights."""

from pathlib import Path
from typing import Any

import tiny_pixart
import tiny_unet
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

LENGTH = 16  # tokens of a prompt, of CLIP
CHANNELS = 4  # of latents, of this network; folders have 16
WIDTH = 32  # of the text encoders together


def transformer(**changes: Any) -> SD3Transformer2DModel:
    """The same network every time: latents (B, 4, 8, 8), prompts of width 16, pooled ones of width 8."""
    settings = {
        "sample_size": 8,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 8,
        "pos_embed_max_size": 8,
    }
    torch.manual_seed(0)
    return randomized(SD3Transformer2DModel(**settings | changes))


def write(
    folder: Path,
    t5: bool = True,
    dtype: torch.dtype = torch.float32,
    shift: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A folder as the real pipeline saves it, for pictures of 64 pixels.

    `shift` is the config of the scheduler, `changes` are for that of the transformer. Version 3.5 normalizes queries
    and keys and has dual attention.
    """
    torch.manual_seed(1)
    own = {"num_layers": 3, "in_channels": 16, "out_channels": 16, "joint_attention_dim": WIDTH, "sample_size": 32}
    net = transformer(**{**own, "pooled_projection_dim": 24, "pos_embed_max_size": 48, **changes})
    words = tiny_pixart.tokenizer()
    third: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}
    if t5:
        third = {"text_encoder_3": t5_encoder(len(words)), "tokenizer_3": words}
    pipeline = StableDiffusion3Pipeline(
        transformer=net,
        scheduler=FlowMatchEulerDiscreteScheduler(**(shift or {"shift": 3.0})),
        vae=autoencoder(),
        text_encoder=clip(CLIPTextModelWithProjection, 8),
        tokenizer=tiny_unet.tokenizer(),
        text_encoder_2=clip(CLIPTextModelWithProjection, 16),
        tokenizer_2=tiny_unet.tokenizer(),
        **third,
    )
    pipeline.to(dtype).save_pretrained(folder)
    return folder


def autoencoder() -> AutoencoderKL:
    """16 channels, a factor of 2 to pixels, with a shift, as SD3 and Flux have it."""
    net = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    nn.init.normal_(net.decoder.conv_out.weight, std=0.1)  # pictures of middle greys show nothing
    return net.eval()


def clip(kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection], width: int) -> Any:
    """A text encoder of CLIP with states and pooled embeddings of this width."""
    words = tiny_unet.tokenizer()
    settings = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    return kind(settings).eval()


def t5_encoder(vocabulary: int) -> T5EncoderModel:
    settings = T5Config(vocab_size=vocabulary, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return T5EncoderModel(settings).eval()


def randomized(net: Any) -> Any:
    """Every weight random, so that no gate is closed and no layer hides what it does."""
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.15)
    return net.eval()
