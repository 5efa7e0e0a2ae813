"""What all diffusion models of pictures in latents share: the autoencoder, and where parts are while they work."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from fastdiff.models.backbone import GuidanceKind, Prompts
from fastdiff.models.conditioned import ConditionedNetwork
from fastdiff.models.diffusers_folder import ModelFolder
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.scheduler_config import TrainedScheduler, read_scheduler_config
from fastdiff.solvers.errors import UsageError

AUTOENCODERS = {
    "diffusers.AutoencoderKL": AutoencoderKL,
    "fastdiff.models.patch_codec.PatchCodec": PatchCodec,
}


@dataclass(frozen=True)
class Latent:
    """The network and the autoencoder of a model. With `offload`, only the network stays on the device between uses.

    A family is a subclass: how it reads prompts, and what else its network is called with.
    """

    name: str
    trained: TrainedScheduler
    network: Any  # of diffusers, whose configs have no types
    vae: Any  # AutoencoderKL or PatchCodec
    device: torch.device
    offload: bool

    hears = True
    guidance_kind: ClassVar[GuidanceKind] = "classifier-free"

    def read(self, texts: Sequence[str]) -> Prompts:
        raise NotImplementedError

    def network_arguments(self, prompts: Prompts, size: tuple[int, int]) -> Mapping[str, Any]:
        """What the network takes besides latents and timesteps, a row a prompt, for pictures of `size` pixels (height,
        width)."""
        raise NotImplementedError

    def bind(self, prompts: Prompts, size: tuple[int, int], unconditional: Prompts | None = None) -> ConditionedNetwork:
        def predict(x: Tensor, timestep: Tensor, prompts: Prompts) -> Tensor:
            given = self.network_arguments(prompts, size)
            out = self.network(x.to(self.network.dtype), timestep=timestep, **given, return_dict=False)[0]
            return out[:, : x.shape[1]].float()  # without learned variances

        return ConditionedNetwork(predict, self.trained, prompts, unconditional)

    @cached_property
    def empty_prompt(self) -> Prompts:
        return self.read([""])

    @property
    def side(self) -> int:
        return self.network.config.sample_size * self._factor

    @property
    def multiple(self) -> int:
        return self._factor * self._stride

    def encode(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise UsageError(f"a picture of {width}x{height}: sides are multiples of {self.multiple}")
        with self._at_work(self.vae):
            latents = self.vae.encode(pictures.to(self.device, self.vae.dtype)).latent_dist.mode()
        return (latents.float() - self._shift) * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        latents = latents / self._scale + self._shift
        with self._at_work(self.vae):
            return self.vae.decode(latents.to(self.device, self.vae.dtype), return_dict=False)[0].float()

    @property
    def _stride(self) -> int:
        """Latents of which both sides are multiples, for the network."""
        return 1

    @property
    def _factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def _scale(self) -> float:
        return self.vae.config.scaling_factor

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0

    @contextmanager
    def _at_work(self, part: nn.Module) -> Iterator[None]:
        if not self.offload:
            yield
            return
        part.to(self.device)
        try:
            yield
        finally:
            part.to("cpu")


def fields(
    folder: ModelFolder, name: str, network: Any, vae: Any, device: torch.device, offload: bool
) -> dict[str, Any]:
    """Those of `Latent` for the parts of a folder, which are put where they belong."""
    return {
        "name": name,
        "trained": read_scheduler_config(folder.path / "scheduler"),
        "network": network.to(device),
        "vae": vae if offload else vae.to(device),
        "device": device,
        "offload": offload,
    }
