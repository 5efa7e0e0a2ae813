"""Base class of latent diffusion models: the autoencoder, the bound network, and offloading."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.models.component_loading import Components
from fastdiff.models.conditioned_network import ConditionedNetwork
from fastdiff.models.diffusion_model import Conditioning, GuidanceKind
from fastdiff.models.scheduler_config import TrainedScheduler, read_scheduler_config
from fastdiff.solvers.errors import UsageError


@dataclass(frozen=True)
class LatentDiffusionModel:
    """A `DiffusionModel` with a network of diffusers and an autoencoder. Each family is a subclass in one file.

    A family defines `encode_prompts` and `network_arguments`, and for `edit` the methods of `EditableModel` that its
    CONTROLS need. It may override `guidance_kind` (classifier-free by default), `encode_negative_prompts`, `predict`,
    `encode`, `decode`, and `scheduler` if its schedule depends on the picture size.
    """

    name: str
    components: Components
    trained: TrainedScheduler
    network: Any  # of diffusers, whose configs have no types
    vae: Any  # AutoencoderKL, AutoencoderDC, PatchCodec or ConvCodec

    text_conditioned = True

    @property
    def guidance_kind(self) -> GuidanceKind:
        return "classifier-free"

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        raise NotImplementedError

    def encode_negative_prompts(self, texts: Sequence[str]) -> Conditioning:
        return self.encode_prompts(texts)

    def network_arguments(self, prompts: Conditioning, size: tuple[int, int]) -> Mapping[str, Any]:
        """Return the keyword arguments of the network besides latents and timestep, one row per prompt.

        `size` is the (height, width) of the pictures in pixels.
        """
        raise NotImplementedError

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        raise NotImplementedError

    def embed(self, latents: Tensor) -> Tensor:
        raise NotImplementedError

    def bind(
        self, prompts: Conditioning, size: tuple[int, int], unconditional: Conditioning | None = None
    ) -> ConditionedNetwork:
        def predict(x: Tensor, timestep: Tensor, prompts: Conditioning) -> Tensor:
            self._bring_network()
            return self.predict(x, timestep, prompts, size)

        return ConditionedNetwork(predict, self.scheduler(size), prompts, unconditional)

    def predict(self, x: Tensor, timestep: Tensor, prompts: Conditioning, size: tuple[int, int]) -> Tensor:
        """Return the network's output (B, C, h, w) for states of this shape, float32, without learned variances."""
        given = self.network_arguments(prompts, size)
        out: Tensor = self.network(x.to(self.network.dtype), timestep=timestep, **given, return_dict=False)[0]
        return out[:, : x.shape[1]].float()

    @cached_property
    def empty_prompt(self) -> Conditioning:
        return self.encode_prompts([""])

    def scheduler(self, size: tuple[int, int]) -> TrainedScheduler:
        return self.trained

    @property
    def device(self) -> torch.device:
        return self.components.device

    @property
    def resolution(self) -> int:
        return int(self.network.config.sample_size * self._factor)

    @property
    def size_multiple(self) -> int:
        return self._factor * self._stride

    def encode(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise UsageError(f"a picture of {width}x{height}: sides are multiples of {self.size_multiple}")
        with self._at_work(self.vae):
            latents = self._encoded(pictures.to(self.device, self.vae.dtype))
        return (latents.float() - self._shift) * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        latents = latents / self._scale + self._shift
        with self._at_work(self.vae):
            picture: Tensor = self.vae.decode(latents.to(self.device, self.vae.dtype), return_dict=False)[0]
        return picture.float()

    def _encoded(self, pictures: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) of the autoencoder, not yet scaled."""
        mode: Tensor = self.vae.encode(pictures).latent_dist.mode()
        return mode

    @property
    def _stride(self) -> int:
        """The number of latents of which both sides of the network's input are multiples."""
        return 1

    def _tokens(self, size: tuple[int, int]) -> int:
        """Return the number of tokens of a picture of `size` pixels, padded to `size_multiple`."""
        rows, columns = (ceil(side / self.size_multiple) for side in size)
        return rows * columns

    @property
    def _factor(self) -> int:
        return 1 << (len(self.vae.config.block_out_channels) - 1)

    @property
    def _scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0

    @contextmanager
    def _at_work(self, part: nn.Module) -> Iterator[None]:
        """Have a part on the device, with `offload` alone there: the network makes room until its next call."""
        if not self.components.offload:
            yield
            return
        self.network.to("cpu")
        part.to(self.device)
        try:
            yield
        finally:
            part.to("cpu")

    def _bring_network(self) -> None:
        """Have the network on the device."""
        if self.components.offload:
            self.network.to(self.device)


def fields(components: Components, name: str, network: Any, vae: Any, tokens: int | None = None) -> dict[str, Any]:
    """Return the fields of `LatentDiffusionModel` for the components of a folder.

    `tokens` is the number of tokens of a picture of the size of training, for schedules that depend on it.
    """
    trained = read_scheduler_config(components.folder.path / "scheduler", tokens)
    return {"name": name, "components": components, "trained": trained, "network": network, "vae": vae}


def check_fit(components: Components, wanted: tuple[int, ...], given: tuple[int, ...]) -> None:
    """Raise UsageError unless the channels that a network takes equal those that the other components produce."""
    if wanted != given:
        counts = [" and ".join(map(str, each)) for each in (wanted, given)]
        path = components.folder.path
        raise UsageError(f"the parts of {path} do not fit: {counts[0]} channels are wanted, and {counts[1]} are given")
