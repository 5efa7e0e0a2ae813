"""Guidance masks of LEDITS++ (Brack et al. 2024, arXiv 2311.16711), on the attention maps of a network.

The mask is the product of two: where the changed words receive most attention, and where guidance is strongest. The
authors blur 16 x 16 attention maps of a U-Net; here the maps of the middle layers, summed over the steps so far, are
interpolated.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastdiff.apps.edit.control import AttentionMaps
from fastdiff.solvers.schedule import Level

SHAPED = 0.8  # time below which guidance has a spatial structure; above it, only the words count


@dataclass(frozen=True)
class WordsAndGuidanceMask:
    """The mask of `Masked` guidance: 1 where the targets are guided. The source is guided everywhere."""

    maps: AttentionMaps
    which: int  # of the sets of tracked words: what changes
    tokens: tuple[int, int]  # rows and columns of the token grid
    quantile: float  # of either mask: the share of the latents that it leaves out

    def __call__(self, guidance: Tensor, level: Level) -> Tensor:
        """Map the guidance difference (rows, C, h, w) at a noise level to a mask (rows, 1, h, w) of 0 and 1."""
        maps = self.maps.total
        assert maps is not None  # the network was called just now
        source, targets = maps[self.which].reshape(-1, 1, *self.tokens).tensor_split([1])
        attention = interpolate(source + targets, guidance.shape[-2:], mode="bilinear", align_corners=False)
        mask = self._highest(attention)
        if level.t <= SHAPED:
            mask = mask * self._highest(guidance[1:].abs().sum(1, keepdim=True))
        return torch.cat([torch.ones_like(mask[:1]), mask])

    def _highest(self, values: Tensor) -> Tensor:
        """Return 1 for the values (B, 1, h, w) at or above the quantile of their picture, else 0."""
        bound = values.flatten(1).quantile(self.quantile, dim=1)
        return (values >= bound[:, None, None, None]).to(values)
