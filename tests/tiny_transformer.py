"""A tiny PixArt transformer with random weights in which every block does something, and words for it to hear."""

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

CHANNELS = 32
LENGTH = 6


def tiny(depth: int = 3) -> PixArtTransformer2DModel:
    torch.manual_seed(0)
    net = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=depth,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=CHANNELS,
        use_additional_conditions=False,
    )
    for name, weight in net.named_parameters():
        if name.endswith("scale_shift_table"):
            torch.nn.init.normal_(weight)  # gates near zero would hide what attention does
    return net.eval().requires_grad_(False)


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def denoise(net: PixArtTransformer2DModel, x: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """Rows x (B, 4, H, W) with text (B, L, CHANNELS), at step 500."""
    time = torch.full((len(x),), 500.0)
    nothing = {"resolution": None, "aspect_ratio": None}
    return net(x, text, time, added_cond_kwargs=nothing, encoder_attention_mask=mask).sample
