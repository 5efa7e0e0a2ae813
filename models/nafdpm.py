"""NAF-DPM's two networks: a restoration U-Net and a denoiser of its residual, without nonlinear activations.

Cicchetti & Comminiello, "NAF-DPM: A Nonlinear Activation-Free Diffusion Probabilistic Model for Document
Enhancement", arXiv 2404.05669. Parameters carry the names of the published checkpoints, so these load as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError

DEEPEST = 8  # levels of a network that is loaded
LUMA = (0.299, 0.587, 0.114)  # of RGB, Rec. 601


@dataclass(frozen=True)
class Size:
    """Width and depth of a network. The defaults are the published ones: 9.4 M parameters for the pair."""

    channels: int = 1  # of the picture: 1 for binarization, 3 for deblurring
    width: int = 32  # channels of the first level; doubled at every level below
    levels: int = 4  # down-samplings by two; the picture is padded to a multiple of 2**levels


class LayerNorm(nn.Module):
    """Normalises over the channels of every pixel, with a gain and no bias."""

    def __init__(self, width: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        eps = 1e-5 if x.dtype in (torch.float32, torch.float64) else 1e-3
        with torch.autocast(x.device.type, enabled=False):
            x = x.permute(0, 2, 3, 1)  # (B, H, W, C), free for channels-last memory
            x = F.layer_norm(x, x.shape[-1:], self.g.flatten().to(x.dtype), eps=eps)
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)


class SimpleGate(nn.Module):
    """The product of the two halves of the channels: the only nonlinearity of the network."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return a * b


class NAFBlock(nn.Module):
    """Depthwise convolution with channel attention, then a gated pointwise network; the identity at initialisation."""

    def __init__(self, width: int, time_width: int | None = None):
        super().__init__()
        self.mlp = nn.Sequential(SimpleGate(), nn.Linear(time_width // 2, 4 * width)) if time_width else None
        self.norm1 = LayerNorm(width)
        self.conv1 = nn.Conv2d(width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))
        self.conv3 = nn.Conv2d(width, width, 1)
        self.norm2 = LayerNorm(width)
        self.conv4 = nn.Conv2d(width, 2 * width, 1)
        self.conv5 = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        u, v = self.norm1, self.norm2
        if self.mlp is not None:
            shift_u, scale_u, shift_v, scale_v = self.mlp(time)[:, :, None, None].to(x.dtype).chunk(4, dim=1)
            y = u(x) * (1 + scale_u) + shift_u
        else:
            y = u(x)
        y = self.sg(self.conv2(self.conv1(y)))  # (B, C, H, W)
        y = self.conv3(y * self.sca(y))
        x = x + y * self.beta.to(x.dtype)
        y = v(x) if self.mlp is None else v(x) * (1 + scale_v) + shift_v
        y = self.conv5(self.sg(self.conv4(y)))
        out: Tensor = x + y * self.gamma.to(x.dtype)
        return out


class TimeEmbedding(nn.Module):
    """Sines and cosines of the training step, frequencies 1 to 1e-4."""

    def __init__(self, width: int):
        super().__init__()
        self.pairs = width // 2

    def forward(self, t: Tensor) -> Tensor:
        rate = torch.exp(torch.arange(self.pairs, device=t.device) * (-math.log(10000) / (self.pairs - 1)))
        angle = t[:, None].float() * rate  # (B, pairs)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Blocks(nn.Sequential):
    """Blocks of one width, one after the other, all told the time."""

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        for block in self:
            x = block(x, time)
        return x


class UNet(nn.Module):
    """The common body: encoders, middle and decoders of one block each, skips added."""

    def __init__(self, in_channels: int, out_channels: int, width: int, levels: int, time_width: int | None = None):
        super().__init__()
        self.intro = nn.Conv2d(in_channels, width, 3, padding=1)
        self.ending = nn.Conv2d(width, out_channels, 3, padding=1)
        widths = [width * 2**level for level in range(levels)]
        self.encoders = nn.ModuleList(Blocks(NAFBlock(w, time_width)) for w in widths)
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, 2) for w in widths)
        self.middle_blks = Blocks(NAFBlock(width * 2**levels, time_width))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * w, 4 * w, 1, bias=False), nn.PixelShuffle(2)) for w in reversed(widths)
        )
        self.decoders = nn.ModuleList(Blocks(NAFBlock(w, time_width)) for w in reversed(widths))
        self.multiple = 2**levels

    def body(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W); right and bottom edges are repeated up to the next multiple."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        x = self.intro(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            x = blocks(x, time)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x, time)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            x = blocks(up(x) + skips.pop(), time)
        out: Tensor = self.ending(x)
        return out[..., :height, :width]


class Predictor(UNet):
    """The initial predictor: degraded picture -> restored picture, (B, C, H, W) in [0, 1]."""

    def __init__(self, size: Size = Size()):
        super().__init__(size.channels, size.channels, size.width, size.levels)

    @classmethod
    def of(cls, size: Size, weights: Mapping[str, Tensor]) -> Self:
        """Return a network of this size, in the form that the weights belong to."""
        return cls(size)

    def forward(self, y: Tensor) -> Tensor:
        return y + self.body(y)


class ResidualDenoiser(UNet):
    """The conditional denoiser: (noisy residual, training step 0..T-1, condition) -> clean residual.

    Shapes: residual (B, C, H, W), steps (B,), result (B, C, H, W). Published networks see the first restoration
    (B, C, H, W). Ours see the degraded picture as well, (B, 2C, H, W), since a restoration has lost what it did not
    understand; their residuals are divided by `scale`, the standard deviation in training, so that the schedule ends
    in residuals of variance 1 as it begins in noise of variance 1.
    """

    scale: Tensor

    def __init__(self, size: Size = Size(), sees_degraded: bool = False):
        pictures = 3 if sees_degraded else 2
        super().__init__(pictures * size.channels, size.channels, size.width, size.levels, time_width=4 * size.width)
        self.sees_degraded = sees_degraded
        # on the CPU even where `load` builds networks without memory, since published weights do not hold it
        self.register_buffer("scale", torch.ones((), device="cpu"), persistent=sees_degraded)
        self.time_mlp = nn.Sequential(
            TimeEmbedding(size.width),
            nn.Linear(size.width, 8 * size.width),
            SimpleGate(),
            nn.Linear(4 * size.width, 4 * size.width),
        )

    @classmethod
    def of(cls, size: Size, weights: Mapping[str, Tensor]) -> Self:
        return cls(size, sees_degraded=weights["intro.weight"].shape[1] == 3 * size.channels)

    def condition(self, restored: Tensor, degraded: Tensor) -> Tensor:
        """Return the condition of this network for pictures (B, C, H, W)."""
        return torch.cat([restored, degraded], dim=1) if self.sees_degraded else restored

    def forward(self, residual: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.body(torch.cat([residual, condition], dim=1), self.time_mlp(t))


Network = TypeVar("Network", Predictor, ResidualDenoiser)


def alphas_cumprod(steps: int = 100) -> Tensor:
    """abar_t of the published linear schedule, (steps,) float64: beta from 1e-6 to 0.02, each times 1000 / steps."""
    scale = 1000 / steps
    return torch.cumprod(1 - torch.linspace(1e-6 * scale, 0.02 * scale, steps, dtype=torch.float64), 0)


def in_colour(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network of grey pictures as those of one of RGB pictures, which does the same to grey ones.

    The colour network sees the luma of each of its pictures and gives every channel the same change.
    """
    intro = weights["intro.weight"]  # (width, pictures, 3, 3)
    luma = intro.new_tensor(LUMA).repeat(intro.shape[1])[None, :, None, None]
    return {
        **weights,
        "intro.weight": intro.repeat_interleave(3, dim=1) * luma,
        "ending.weight": weights["ending.weight"].repeat(3, 1, 1, 1),
        "ending.bias": weights["ending.bias"].repeat(3),
    }


def seeing_degraded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published denoiser as those of one that sees the degraded picture, and ignores it yet."""
    intro = weights["intro.weight"]  # (width, 2C, 3, 3)
    more = intro.new_zeros(len(intro), intro.shape[1] // 2, *intro.shape[2:])
    return {**weights, "intro.weight": torch.cat([intro, more], dim=1), "scale": intro.new_ones(())}


def size_of(weights: Mapping[str, Tensor]) -> Size:
    """The size of the network that a state dict belongs to. Raises UsageError if it is not NAF-DPM's."""
    try:
        channels, width, _, _ = weights["ending.weight"].shape
        levels = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("downs."))
    except (KeyError, ValueError) as error:
        raise UsageError("the checkpoint is not a NAF-DPM network: 'ending.weight' or 'downs.*' is missing") from error
    if not 1 <= levels <= DEEPEST:
        raise UsageError(f"the checkpoint has {levels} levels: from 1 to {DEEPEST} are allowed")
    return Size(channels, width, levels)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """State dict of a published checkpoint (a pickle of tensors, or a training state that holds one).

    Raises UsageError when the file is no such thing; arbitrary pickled objects are refused (`weights_only`).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"{path} is not a readable checkpoint of tensors") from error
    weights = content.get("model_state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path} does not hold a state dict of tensors")
    return weights


def load(network: type[Network], weights: Mapping[str, Tensor]) -> Network:
    """A network in evaluation mode with these weights, float32. Raises UsageError on a mismatch or on NaN."""
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise UsageError("the weights hold NaN or infinite values")
    size = size_of(weights)
    try:
        with torch.device("meta"):  # no memory is spent on what a hostile file only claims to hold
            net = network.of(size, weights)
        net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[:2][-1].strip()
        raise UsageError(f"the weights do not fit {network.__name__}: {first}") from error
    return net.eval().to(memory_format=torch.channels_last)
