"""The sampler of consistency models (Luo et al. 2023, arXiv 2310.04378): one estimate of the picture, then new noise.

A network that was distilled to it estimates, from any level, the end of its sampling trajectory. Every step takes this
estimate and adds independent noise up to the next level; the last one adds none. Networks that were not distilled give
blurred pictures. The published boundary weights c_skip and c_out differ from 0 and 1 by less than 1e-5 at the levels of
`consistency_points`, and are left out.
"""

from dataclasses import dataclass, field, replace

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step, Transition
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.schedule import DiscreteVP, Schedule

POINTS = 50  # levels of a training, in equal strides of the timestep


@dataclass(frozen=True)
class LCM:
    """One evaluation per step."""

    noise: NoiseSource = field(default_factory=Noise)

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = True

    def with_noise(self, noise: NoiseSource) -> "LCM":
        return replace(self, noise=noise)

    def init(self, grid: Grid) -> None:
        return None

    def transition(self, f: Denoiser, x: Tensor, step: Step, state: None) -> Transition[None]:
        return Transition(step.u.alpha * f(x, step.t).x0, step.u.sigma, None)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        mean, deviation, after = self.transition(f, x, step, state)
        if deviation == 0:
            return mean, after
        return mean + deviation * self.noise(mean, step.index + 1), after


def consistency_points(schedule: Schedule, count: int, strength: float = 1.0) -> Grid:
    """Return `count` of the POINTS levels that a distillation trains, from the noisiest on, in nearly equal strides.

    With 1000 timesteps these are 19, 39, .. 999, and four of them 999, 759, 499, 259. A run takes a step to sigma 0
    after the last. `strength` in (0, 1] is the share of them, the less noisy ones, that they are drawn from. Raises
    UsageError for more levels than there are, and for a schedule without timesteps.
    """
    if not isinstance(schedule, DiscreteVP):
        raise UsageError(f"consistency points on {type(schedule).__name__}: only a DiscreteVP schedule has them")
    check_consistency_points(count, strength)
    most = int(strength * POINTS)
    stride = len(schedule.alphas_cumprod) // POINTS
    return tuple(schedule.at_timestep((most - i * most // count) * stride - 1) for i in range(count))


def check_consistency_points(count: int, strength: float) -> None:
    """Raise UsageError for more levels than `consistency_points` has."""
    most = int(strength * POINTS)
    if not 1 <= count <= most:
        raise UsageError(f"{count} consistency points at strength {strength:g}: there are {most}")
