"""RF-Inversion (Rout et al. 2024, arXiv 2410.10792): inversion of flow models by controlled differential equations.

The velocity of the network is mixed with that of the straight line to a known state: to pure noise in inversion, and in
sampling to the picture, for a part of the steps. Inversion thereby ends at typical noise, and sampling near the
picture. The settings are those of the paper, and were not measured on published weights.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastdiff.inversion.batching import repeat_rows
from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.reversed import integrate_upwards
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.noise import Noise, NoiseSource

STRAIGHT = 1e-6  # largest distance of alpha + sigma from 1 on the straight paths of a flow


@dataclass(frozen=True, eq=False)
class ControlledFlow:
    """Euler's rule for a velocity that is mixed with (target - x) / (end - sigma), in either direction.

    With a `share` of 1 at all steps a run ends at the target, with 0 it is Euler's. The control acts at the steps from
    the fraction `start` on, before the fraction `stop`.
    """

    target: Tensor  # (B, ...)
    end: float  # sigma of the target
    share: float  # of the line's velocity, from 0 to 1
    start: float = 0.0
    stop: float = 1.0

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = False

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        t, u = step.t, step.u
        estimate = f(x, t)
        velocity = estimate.eps - estimate.x0
        if round(self.start * step.total) <= step.index < round(self.stop * step.total):
            line = (repeat_rows(self.target, len(x)) - x) / (self.end - t.sigma)
            velocity = torch.lerp(velocity, line, self.share)
        return torch.add(x, velocity, alpha=u.sigma - t.sigma), None


@dataclass(frozen=True)
class RFInversion:
    """An inverter for flow models. Another seed of `noise` leads to other noise, and so to other edits.

    `gamma` is the share of the line to noise in inversion, with 0 the reversed Euler solver. `eta` is the share of the
    line to the picture in sampling, from the fraction `start` of the steps on, before `stop`; 1 in all steps returns
    the picture. The line ends at the last level of the grid, at which the picture lies.

    Raises UsageError for shares and fractions outside 0 to 1, and for levels of a schedule that is no flow.
    """

    gamma: float = 0.5
    eta: float = 0.9
    start: float = 0.0
    stop: float = 0.25
    noise: NoiseSource = field(default_factory=Noise)

    def __post_init__(self) -> None:
        if not (0 <= self.gamma <= 1 and 0 <= self.eta <= 1 and 0 <= self.start <= self.stop <= 1):
            raise UsageError(
                f"RF-Inversion with gamma {self.gamma:g} and eta {self.eta:g} from {self.start:g} to {self.stop:g}: "
                "give numbers from 0 to 1, the start before the stop"
            )

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        if any(abs(level.alpha + level.sigma - 1) > STRAIGHT for level in grid):
            raise UsageError("RF-Inversion needs a flow model, and this model is none: give another inversion")
        upwards = ControlledFlow(self.noise(x0, 0), 1.0, self.gamma)
        states, _ = integrate_upwards(f, upwards, x0, grid)
        return InversionPath(self.sampler(x0, grid), states)

    def sampler(self, picture: Tensor, grid: Grid) -> ControlledFlow:
        """Return the solver that samples over this grid, with control towards the picture (B, ...)."""
        return ControlledFlow(picture, grid[-1].sigma, self.eta, self.start, self.stop)
