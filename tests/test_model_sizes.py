"""The published configs of the large models, built without memory: their numbers of parameters, and one call each.

The configs were typed from the published folders; the parameters are compared with what the authors say.
"""

from typing import Any

import pytest
import torch
from diffusers import (
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)

SD3 = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "pos_embed_max_size": 192,
    "joint_attention_dim": 4096,
}
XL = {
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
MODELS: dict[str, tuple[Any, dict[str, Any], float]] = {  # class, config, billions of parameters
    "PixArt-XL 512": (PixArtTransformer2DModel, {"sample_size": 64}, 0.6),
    "SDXL": (UNet2DConditionModel, XL, 2.6),
    "Sana 1.6B": (SanaTransformer2DModel, {"caption_channels": 2304}, 1.6),
    "SD3 medium": (
        SD3Transformer2DModel,
        SD3
        | {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pooled_projection_dim": 2048},
        2.0,
    ),
    "SD3.5 large": (
        SD3Transformer2DModel,
        SD3
        | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pooled_projection_dim": 2048}
        | {"qk_norm": "rms_norm"},
        8.1,
    ),
    "FLUX.1-dev": (FluxTransformer2DModel, {"guidance_embeds": True}, 11.9),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_the_authors_state(name: str) -> None:
    kind, config, billions = MODELS[name]
    with torch.device("meta"):
        network = kind.from_config(config)
    numbers = sum(weight.numel() for weight in network.parameters())
    assert numbers / 1e9 == pytest.approx(billions, rel=0.03)
