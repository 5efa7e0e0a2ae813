"""Perturbations of light: tone curves that vary smoothly over the picture, and from its shadows to its highlights.

A bilateral grid holds the curves (Chen, Paris and Durand 2007, doi 10.1145/1276377.1276506). Neighbouring pixels have
other curves where their lightness differs, so that light and shade end at the edges of things. Black and white stay.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.attack.gradient import Pullback
from fastdiff.apps.attack.space import eight_bits
from fastdiff.apps.attack.textured_pixels import smooth

CELLS = 16  # of the grid, along the longer side of a picture
SHADES = 6  # of lightness that have curves of their own, from black to white
SHARPNESS = 1.0  # standard deviation in pixels of the window that the lightness of a pixel is measured in
WARMTH = 0.7  # share of the change in the exponents of red and blue that warmth makes, against that of light
BUSY = 0.05  # deviation of grey values in a cell at which its curves have half their effect
DARKEST = 1e-5  # colour that black counts as, for the logarithm
STEEPEST = 20.0  # logarithm of an exponent, at most: larger ones overflow


@dataclass(frozen=True, eq=False)
class LocalCurves:
    """The `Space` of bilateral grids (B, 2, SHADES, h, w) of light and warmth, for pictures (B, C, H, W) in [0, 1].

    A colour c becomes c ** exp(-light), where warmth adds to the light of red and takes from that of blue; grey
    pictures (C = 1) have light alone. In even areas, where the eye sees every gradient, curves have less effect.
    """

    pictures: Tensor
    places: Tensor  # (B, 1, H, W, 3) of the pixels in the grid, in [-1, 1]: across, down, lightness
    effect: Tensor  # (B, 1, H, W) in [0, 1]

    calls = 0

    @classmethod
    def of(cls, pictures: Tensor) -> "LocalCurves":
        grey = pictures.mean(1, keepdim=True)
        return cls(pictures, _places(smooth(grey, SHARPNESS)), _effect(grey))

    @property
    def unperturbed(self) -> Tensor:
        return self.pictures.new_zeros(len(self.pictures), 2, SHADES, *_cells(self.pictures))

    def take(self, rows: Tensor) -> "LocalCurves":
        return replace(self, pictures=self.pictures[rows], places=self.places[rows], effect=self.effect[rows])

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        return delta + change

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        return delta, lambda gradient: gradient

    def decode(self, made: Tensor) -> Tensor:
        sliced = F.grid_sample(made, self.places, padding_mode="border", align_corners=True)[:, :, 0]
        light, warmth = (self.effect * sliced).split(1, dim=1)  # (B, 1, H, W) each
        shares = self.pictures.new_tensor([WARMTH, 0, -WARMTH] if self.pictures.shape[1] == 3 else [0])
        logarithms = -light - shares[:, None, None] * warmth
        exponents = torch.exp(logarithms.clamp(-STEEPEST, STEEPEST))  # (B, C, H, W)
        curved = torch.exp(exponents * self.pictures.clamp(min=DARKEST).log())
        return eight_bits(torch.where(self.pictures > 0, curved, self.pictures))

    def quantized(self, pictures: Tensor) -> Tensor:
        return pictures


def _cells(pictures: Tensor) -> tuple[int, int]:
    """Return the cells of the grid, down and across; as square as can be."""
    height, width = pictures.shape[-2:]
    longer = max(height, width)
    return max(2, round(CELLS * height / longer)), max(2, round(CELLS * width / longer))


def _places(lightness: Tensor) -> Tensor:
    count, _, height, width = lightness.shape
    down, across = (torch.linspace(-1, 1, side).to(lightness) for side in (height, width))
    spread = [across.expand(count, height, width), down[:, None].expand(count, height, width)]
    return torch.stack([*spread, 2 * lightness[:, 0] - 1], dim=-1)[:, None]


def _effect(grey: Tensor) -> Tensor:
    """Return the share of its curves that a pixel takes: deviation / (deviation + BUSY), interpolated between cells."""
    mean, power = (F.adaptive_avg_pool2d(each, _cells(grey)) for each in (grey, grey.square()))
    deviation = (power - mean.square()).clamp(min=0).sqrt()
    return F.interpolate(deviation / (deviation + BUSY), grey.shape[-2:], mode="bilinear", align_corners=True)
