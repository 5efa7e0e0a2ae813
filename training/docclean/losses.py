"""The losses of the two networks."""

import kornia
import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.training.docclean.colour_page import CONTENT

LOSS = 2.0  # weight of lost content, relative to dirt that stays
STROKE = 4.0  # weight of strokes, relative to paper, in the loss of the residual
# Eight times the centre minus all eight neighbours, zero at the border: NAF-DPM's high-pass filter.
HIGH_PASS = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])


def high_pass(x: Tensor) -> Tensor:
    """Filter every channel on its own, (B, C, H, W) -> (B, C, H, W)."""
    return kornia.filters.filter2d(x, HIGH_PASS[None].to(x), border_type="constant", normalized=False)


def restoration_loss(x: Tensor, clean: Tensor) -> Tensor:
    """Return the Charbonnier distance of the pictures plus a tenth of that of their edges.

    NAF-DPM compares x - Hx instead, a sharpening with gains up to 11; on thin strokes plain distances were steadier.
    """
    return charbonnier(x, clean).mean() + 0.1 * edge_distance(x, clean)


def weighted_restoration_loss(x: Tensor, clean: Tensor) -> Tensor:
    """Return `restoration_loss` of RGB pictures on white paper, with content weighted LOSS times as much as paper.

    The weight keeps an area that may be a fill or a stain.
    """
    content = (clean.amin(dim=1, keepdim=True) < 1 - CONTENT).to(x)  # (B, 1, H, W)
    return (charbonnier(x, clean) * (1 + (LOSS - 1) * content)).mean() + 0.1 * edge_distance(x, clean)


def charbonnier(x: Tensor, clean: Tensor, knee: float = 0.05) -> Tensor:
    """Return the Charbonnier distance of every value, (B, C, H, W)."""
    return torch.sqrt((x - clean) ** 2 + knee**2) - knee


def edge_distance(x: Tensor, clean: Tensor) -> Tensor:
    """Return the mean distance of the high-passed pictures, per unit of the filter's centre."""
    return (high_pass(x) - high_pass(clean)).abs().mean() / 8


def residual_loss(estimate: Tensor, target: Tensor, clean: Tensor) -> Tensor:
    """Return the squared error of a residual plus twice that of its edges, STROKE times as much on strokes.

    NAF-DPM weighs edges 64 times as much, by a filter whose centre is 8, and no strokes. A stroke is what is darker
    than paper in the clean picture, and the pixels around it.
    """
    dark = 1 - clean.amin(dim=1, keepdim=True)
    weight = 1 + (STROKE - 1) * F.max_pool2d(dark, 5, stride=1, padding=2)  # (B, 1, H, W)
    error = estimate - target
    return (weight * (error**2 + 2 * (high_pass(error) / 8) ** 2)).mean() / weight.mean()
