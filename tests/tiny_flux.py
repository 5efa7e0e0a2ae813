"""FLUX.1 small enough for a test: the real classes, with random weights."""

from pathlib import Path
from typing import Any

import tiny_pixart
import tiny_sd3
import tiny_unet
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tiny_sd3 import randomized
from transformers import CLIPTextModel

DEV: dict[str, Any] = {"shift": 3.0, "use_dynamic_shifting": True}
SCHNELL: dict[str, Any] = {"shift": 1.0}


def write(
    folder: Path, dtype: torch.dtype = torch.float32, shift: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A folder as the real pipeline saves it; `shift` is the config of the scheduler, `changes` are for the network."""
    torch.manual_seed(3)
    settings = {
        "in_channels": 64,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": tiny_sd3.WIDTH,
        "pooled_projection_dim": 16,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 4, 8),
    }
    words = tiny_pixart.tokenizer()
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**(shift or DEV)),
        vae=tiny_sd3.autoencoder(),
        text_encoder=tiny_sd3.clip(CLIPTextModel, 16),
        tokenizer=tiny_unet.tokenizer(),
        text_encoder_2=tiny_sd3.t5_encoder(len(words)),
        tokenizer_2=words,
        transformer=randomized(FluxTransformer2DModel(**settings | changes)),
    )
    pipeline.to(dtype).save_pretrained(folder)
    return folder
