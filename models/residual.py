"""NAF-DPM's second stage as a denoiser: the residual that a first restoration leaves, on the published schedule."""

from collections.abc import Callable
from functools import cache

from torch import Tensor

from fastdiff.models.nafdpm import alphas_cumprod
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.schedule import DiscreteVP


@cache
def residual_schedule() -> DiscreteVP:
    """The hundred levels that the published networks, and ours, were trained on."""
    return DiscreteVP(tuple(alphas_cumprod().tolist()))


def residual_denoiser(net: Callable[..., Tensor], condition: Tensor, scale: Tensor) -> Network:
    """Of residuals (B, C, H, W), divided by the `scale` () of the network.

    `net` is called as `ResidualDenoiser` is, with its `condition`.
    """
    largest = 1 / scale  # () of a residual of pictures in [0, 1]

    def bounded(x: Tensor, label: Tensor, condition: Tensor) -> Tensor:
        return net(x, label, condition).clamp(-largest, largest)

    schedule = residual_schedule()
    return Network(bounded, schedule, "x0", schedule.timestep, {"condition": condition})
