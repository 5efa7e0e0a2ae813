"""A linear autoencoder of patches, with the interface of diffusers' autoencoders.

Every patch is projected on its leading principal components, each divided by its deviation over the pictures that the
codec was fitted to: latents are white. What the components cannot represent is lost in a round trip.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError


class PatchCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]  # the two name their config file differently
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, latent_channels, H / patch, W / patch), and back.

    H and W are multiples of `patch`, which is 2 ** (len(block_out_channels) - 1): pipelines read the factor so.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 48,
        block_out_channels: tuple[int, ...] = (3, 12, 48, 48),
        scaling_factor: float = 1.0,
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        self.patch = 2 ** (len(block_out_channels) - 1)
        values = 3 * self.patch**2
        self.components = nn.Parameter(torch.eye(latent_channels, values), requires_grad=False)  # orthonormal rows
        self.deviation = nn.Parameter(torch.ones(latent_channels), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(values), requires_grad=False)

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """The latents, as a distribution without spread. Raises UsageError for sides that are no multiples."""
        if any(side % self.patch for side in x.shape[-2:]):
            raise UsageError(f"a picture of {x.shape[-1]}x{x.shape[-2]}: sides are multiples of {self.patch}")
        patches = F.pixel_unshuffle(x, self.patch) - self.mean[:, None, None]  # (B, values, H / patch, W / patch)
        latents = torch.einsum("bvhw,cv->bchw", patches, self.components / self.deviation[:, None])
        return AutoencoderKLOutput(latent_dist=IdentityDistribution(latents))

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The pictures of these latents, not clamped."""
        patches = torch.einsum("bchw,cv->bvhw", z, self.components * self.deviation[:, None])
        picture = F.pixel_shuffle(patches + self.mean[:, None, None], self.patch)
        return DecoderOutput(sample=picture) if return_dict else (picture,)


def fit(pictures: Iterable[Tensor], latent_channels: int = 48) -> PatchCodec:
    """The codec of the leading principal components of these pictures' patches.

    Pictures are batches (B, 3, H, W) in [-1, 1].
    """
    codec: PatchCodec = PatchCodec(latent_channels)  # type: ignore[no-untyped-call]
    patches = torch.cat([F.pixel_unshuffle(batch, codec.patch).movedim(1, -1).flatten(0, -2) for batch in pictures])
    patches = patches.double()
    variance, directions = torch.linalg.eigh(patches.T.cov())
    codec.components.data = directions.T.flip(0)[:latent_channels].float().contiguous()
    codec.deviation.data = variance.flip(0)[:latent_channels].sqrt().float()
    codec.mean.data = patches.mean(0).float()
    return codec
