"""What the two networks are trained on."""

import kornia
import torch
from torch import Tensor

from fastdiff.training.docclean.colour_page import CONTENT

LOSS = 2.0  # what lost content costs, where dirt that is left costs 1
# Eight times the centre minus all eight neighbours, zero at the border: NAF-DPM's high-pass filter.
HIGH_PASS = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])


def high_pass(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W), every channel on its own."""
    return kornia.filters.filter2d(x, HIGH_PASS[None].to(x), border_type="constant", normalized=False)


def restoration_loss(x: Tensor, clean: Tensor) -> Tensor:
    """Charbonnier distance of the pictures and, at a tenth, of their edges.

    NAF-DPM compares x - Hx instead, a sharpening with gains up to 11; on thin strokes plain distances were steadier.
    """
    return charbonnier(x, clean).mean() + 0.1 * edge_distance(x, clean)


def weighted_restoration_loss(x: Tensor, clean: Tensor) -> Tensor:
    """`restoration_loss` of RGB pictures on white paper, in which content counts LOSS times as much as paper.

    An area that may be a fill or a stain is therefore kept.
    """
    content = (clean.amin(dim=1, keepdim=True) < 1 - CONTENT).to(x)  # (B, 1, H, W)
    return (charbonnier(x, clean) * (1 + (LOSS - 1) * content)).mean() + 0.1 * edge_distance(x, clean)


def charbonnier(x: Tensor, clean: Tensor, knee: float = 0.05) -> Tensor:
    """The Charbonnier distance of every value, (B, C, H, W)."""
    return torch.sqrt((x - clean) ** 2 + knee**2) - knee


def edge_distance(x: Tensor, clean: Tensor) -> Tensor:
    """The mean distance of what the high-pass filter leaves of the pictures, per unit of its centre."""
    return (high_pass(x) - high_pass(clean)).abs().mean() / 8


def residual_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """NAF-DPM's diffusion loss: squared error of the residual and twice that of its edges."""
    return ((estimate - target) ** 2).mean() + 2 * (high_pass(estimate - target) ** 2).mean()
