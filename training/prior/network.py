"""The untrained prior of attack: an unconditional UNet of diffusers."""

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn


class Network(nn.Module):
    """Latents (B, C, H, W) at training steps (B,) to the prediction (B, C, H, W): 12.0 M parameters.

    H and W are multiples of 4.
    """

    def __init__(self, latent_channels: int, sample_size: int):
        super().__init__()
        self.unet = UNet2DModel(
            sample_size=sample_size,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=(128, 160, 224),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            attention_head_dim=32,
        )
        with torch.no_grad():
            for name, weight in self.unet.named_parameters():
                if name.endswith(("conv2.weight", "conv2.bias")) or name.startswith("conv_out"):
                    weight.zero_()

    def forward(self, noisy: Tensor, t: Tensor) -> Tensor:
        return self.unet(noisy, t).sample
