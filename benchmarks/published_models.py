"""The configs of published models, typed from their folders: networks that can be built without memory.

A network takes its arguments on the meta device for the pictures that it was trained on, one row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    T5Config,
    T5EncoderModel,
)

Config = dict[str, Any]

SD3: Config = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "pos_embed_max_size": 192,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
}
XL: Config = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CLIP_L: Config = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G: Config = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
T5_XXL: Config = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
KL: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
VIT_STAGES = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
DC: Config = {  # f32c32, of Sana
    "encoder_block_types": VIT_STAGES,
    "decoder_block_types": VIT_STAGES,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
}


@dataclass(frozen=True)
class Published:
    """A published model."""

    billions: float  # parameters of its network, as its authors state
    side: int  # pixels
    latents: tuple[int, int, int]  # channels and sides
    network: Callable[[], Any]
    arguments: Callable[[Tensor], dict[str, Any]]  # of the network, for latents (1, ...) or tokens of FLUX
    autoencoder: Callable[[], Any]
    encoders: tuple[Callable[[], nn.Module], ...]


def _clip(kind: Any, config: Config) -> Callable[[], nn.Module]:
    return lambda: kind(CLIPTextConfig(vocab_size=49408, projection_dim=config["hidden_size"], **config))


def _t5() -> nn.Module:
    return T5EncoderModel(T5Config(vocab_size=32128, **T5_XXL))


def _gemma() -> nn.Module:
    return Gemma2Model(Gemma2Config())  # whose defaults are those of 2B


def _kl(channels: int, **more: bool) -> Callable[[], Any]:
    return lambda: AutoencoderKL(latent_channels=channels, **KL, **more)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _prompted(length: int, width: int, **more: Any) -> Callable[[Tensor], dict[str, Any]]:
    def arguments(x: Tensor) -> dict[str, Any]:
        return {"hidden_states": x, "encoder_hidden_states": _empty(1, length, width), "timestep": _empty(1), **more}

    return arguments


def _unet(width: int, **conditions: Any) -> Callable[[Tensor], dict[str, Any]]:
    def arguments(x: Tensor) -> dict[str, Any]:
        given = {"sample": x, "timestep": _empty(1), "encoder_hidden_states": _empty(1, 77, width)}
        return given | ({"added_cond_kwargs": conditions} if conditions else {})

    return arguments


def _sd3(layers: int, **more: Any) -> Published:
    config = {"num_layers": layers, "num_attention_heads": layers, "caption_projection_dim": 64 * layers, **more}
    return Published(
        billions={24: 2.0, 38: 8.1}[layers] if "dual_attention_layers" not in more else 2.5,
        side=1024,
        latents=(16, 128, 128),
        network=lambda: SD3Transformer2DModel(**SD3 | config),
        arguments=_prompted(77 + 256, 4096, pooled_projections=_empty(1, 2048)),
        autoencoder=_kl(16, use_quant_conv=False, use_post_quant_conv=False),
        encoders=(_clip(CLIPTextModelWithProjection, CLIP_L), _clip(CLIPTextModelWithProjection, CLIP_G), _t5),
    )


def _flux_arguments(tokens: Tensor) -> dict[str, Any]:
    given = {"pooled_projections": _empty(1, 768), "guidance": _empty(1), "img_ids": _empty(tokens.shape[1], 3)}
    return _prompted(512, 4096, txt_ids=_empty(512, 3), **given)(tokens)


MODELS = {
    "Stable Diffusion 1.5": Published(
        0.86,
        512,
        (4, 64, 64),
        lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        _unet(768),
        _kl(4),
        (_clip(CLIPTextModel, CLIP_L),),
    ),
    "SDXL": Published(
        2.6,
        1024,
        (4, 128, 128),
        lambda: UNet2DConditionModel(**XL),
        _unet(2048, text_embeds=_empty(1, 1280), time_ids=_empty(1, 6)),
        _kl(4),
        (_clip(CLIPTextModel, CLIP_L), _clip(CLIPTextModelWithProjection, CLIP_G)),
    ),
    "PixArt-Sigma 1024": Published(
        0.6,
        1024,
        (4, 128, 128),
        lambda: PixArtTransformer2DModel(sample_size=128, caption_channels=4096, use_additional_conditions=False),
        _prompted(300, 4096, added_cond_kwargs={"resolution": None, "aspect_ratio": None}),
        _kl(4),
        (_t5,),
    ),
    "Sana 1.6B": Published(
        1.6,
        1024,
        (32, 32, 32),
        lambda: SanaTransformer2DModel(caption_channels=2304),
        _prompted(300, 2304),
        lambda: AutoencoderDC(**DC),
        (_gemma,),
    ),
    "SD3 medium": _sd3(24),
    "SD3.5 medium": _sd3(24, qk_norm="rms_norm", dual_attention_layers=tuple(range(13)), pos_embed_max_size=384),
    "SD3.5 large": _sd3(38, qk_norm="rms_norm"),
    "FLUX.1-dev": Published(
        11.9,
        1024,
        (16, 128, 128),
        lambda: FluxTransformer2DModel(guidance_embeds=True),
        _flux_arguments,
        _kl(16, use_quant_conv=False, use_post_quant_conv=False),
        (_clip(CLIPTextModel, CLIP_L), _t5),
    ),
}
