"""A tiny transformer of Stable Diffusion 3 with random weights, for the scheduler: edit loads no such folder."""

import torch
from diffusers import SD3Transformer2DModel


def transformer() -> SD3Transformer2DModel:
    """The same network every time: latents (B, 4, 8, 8), prompts of width 16, pooled ones of width 8."""
    torch.manual_seed(0)
    net = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=8,
    ).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return net
