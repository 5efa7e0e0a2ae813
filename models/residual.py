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


def residual_denoiser(net: Callable[..., Tensor], restored: Tensor) -> Network:
    """Of residuals (B, C, H, W) in [-1, 1] beside first restorations (B, C, H, W) in [0, 1].

    `net` is called as `ResidualDenoiser` is.
    """

    def bounded(x: Tensor, label: Tensor, restored: Tensor) -> Tensor:
        return net(x, label, restored).clamp(-1, 1)

    schedule = residual_schedule()
    return Network(bounded, schedule, "x0", schedule.timestep, {"restored": restored})
