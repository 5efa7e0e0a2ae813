"""A convolutional autoencoder with the interface of diffusers' autoencoders, whose decoder tolerates noisy latents."""

from itertools import pairwise

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError

NORM_GROUPS = 8


class ConvCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]  # the two name their config file differently
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, latent_channels, H / factor, W / factor), and back.

    H and W are multiples of `factor`, 2 ** (len(block_out_channels) - 1). `block_out_channels` are the widths from
    full resolution downwards; the first two levels are pixel shuffles without residual blocks. The decoder has one
    residual block more per level than the encoder, and the deepest level one more in both. Every latent channel has
    mean 0 and deviation 1 over the training pictures: the running statistics of a batch normalization without affine
    weights, which must be in evaluation mode to encode.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 32,
        block_out_channels: tuple[int, ...] = (12, 24, 48, 96, 128),
        layers_per_block: int = 1,
        scaling_factor: float = 1.0,
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        self.factor = 2 ** (len(block_out_channels) - 1)
        full, half, *widths = block_out_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            _conv(48, widths[0]),
            *_blocks(widths[0], layers_per_block),
            *(
                layer
                for wide, narrow in pairwise(widths)
                for layer in (_conv(wide, narrow, stride=2), *_blocks(narrow, layers_per_block))
            ),
            ResidualBlock(widths[-1]),
            nn.Conv2d(widths[-1], latent_channels, 1),
        )
        self.normalization = nn.BatchNorm2d(latent_channels, momentum=0.02, affine=False)
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, widths[-1], 1),
            ResidualBlock(widths[-1]),
            *_blocks(widths[-1], layers_per_block + 1),
            *(
                layer
                for narrow, wide in zip(widths[:0:-1], widths[-2::-1], strict=True)
                for layer in (nn.Upsample(scale_factor=2), _conv(narrow, wide), *_blocks(wide, layers_per_block + 1))
            ),
            _conv(widths[0], 4 * half),
            nn.PixelShuffle(2),
            nn.SiLU(),
            _conv(half, 4 * full),
            nn.PixelShuffle(2),
            nn.SiLU(),
            _conv(full, 3),
        )

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """The latents, as a distribution without spread. Raises UsageError for sides that are no multiples."""
        if any(side % self.factor for side in x.shape[-2:]):
            raise UsageError(f"a picture of {x.shape[-1]}x{x.shape[-2]}: sides are multiples of {self.factor}")
        latents = self.normalization(self.encoder(x).float()).to(x.dtype)
        return AutoencoderKLOutput(latent_dist=IdentityDistribution(latents))

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The pictures of these latents, not clamped."""
        picture = self.decoder(z)
        return DecoderOutput(sample=picture) if return_dict else (picture,)


class ResidualBlock(nn.Module):
    """Normalization and two convolutions beside the identity, which it is at first."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        self.first, self.second = _conv(width, width), _conv(width, width)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return x + change


def _blocks(width: int, count: int) -> list[ResidualBlock]:
    return [ResidualBlock(width) for _ in range(count)]


def _conv(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride, 1)
