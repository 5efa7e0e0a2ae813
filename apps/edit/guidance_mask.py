"""Guidance where it matters: the masks of LEDITS++ (Brack et al. 2024, arXiv 2311.16711), on the tokens of a DiT.

One mask is where the words that change are heard, the other where guidance is strongest. The authors look the words up
in 16 x 16 maps of a U-Net and blur these; here the middle blocks' maps of all steps so far are widened smoothly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastdiff.apps.edit.control import Controller
from fastdiff.solvers.grids import Grid

SHAPED = 0.8  # time from which on down guidance has a shape: before, the words alone decide


@dataclass(frozen=True)
class WordsAndGuidanceMask:
    """Which latents of the targets are guided, as the mask of `Masked` guidance; the source is guided everywhere."""

    controller: Controller
    which: int  # of the sets of tracked words: what changes
    tokens: tuple[int, int]  # rows and columns of the token grid
    quantile: float  # of either mask: the share of the latents that it leaves out
    grid: Grid

    def __call__(self, guidance: Tensor) -> Tensor:
        """Guidance (rows, C, h, w) to (rows, 1, h, w), 0 or 1."""
        maps = self.controller.maps
        assert maps is not None  # the network was called just now
        source, targets = maps[self.which].unflatten(1, (1, *self.tokens)).tensor_split([1])
        heard = interpolate(source + targets, guidance.shape[-2:], mode="bilinear", align_corners=False)
        mask = self._highest(heard)
        if self.grid[self.controller.step].t <= SHAPED:
            mask = mask * self._highest(guidance[1:].abs().sum(1, keepdim=True))
        return torch.cat([torch.ones_like(mask[:1]), mask])

    def _highest(self, values: Tensor) -> Tensor:
        """1 for the values (B, 1, h, w) at or above their quantile in each picture."""
        bound = values.flatten(1).quantile(self.quantile, dim=1)
        return (values >= bound[:, None, None, None]).to(values)
