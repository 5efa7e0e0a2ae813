"""Edit-friendly inversion (Huberman-Spiegelglas et al. 2024, arXiv 2304.06140), for any recordable stochastic solver.

The picture is noised to every level independently; the recorded noise maps lead the solver from each level to the next.
All states are known beforehand, so a batched denoiser evaluates many at once. With `sde_dpmpp_1` the steps are DDPM's,
with `sde_dpmpp_2m` those of LEDITS++ (Brack et al. 2024, arXiv 2311.16711). Reconstruction is exact for any network,
prompt and guidance, if both runs use the same.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastdiff.inversion.batching import repeat_rows
from fastdiff.inversion.inversion import InversionPath
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import RecordableSolver, Solver, Step, integrate, is_recordable
from fastdiff.solvers.lcm import LCM
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.precomputed import precompute

ROWS = 8  # rows per network evaluation: more rows are hardly faster, and take more memory


@dataclass(frozen=True, eq=False)
class RecordedNoise:
    """Recorded noise maps as a noise source. All rows of a picture get its map."""

    z: Tensor  # (N, B, ...), one map per step

    def __call__(self, like: Tensor, step: int) -> Tensor:
        return repeat_rows(self.z[step - 1], len(like))


@dataclass(frozen=True)
class EditFriendly:
    """Records the noise maps of `solver`. Another seed of `noise` gives other maps, and so other edits, of a picture.

    Raises UsageError for a solver whose noise cannot be recorded.
    """

    solver: RecordableSolver[Any] = field(default_factory=sde_dpmpp_1)
    noise: NoiseSource = field(default_factory=Noise)

    def __post_init__(self) -> None:
        if not is_recordable(self.solver):
            name = type(self.solver).__name__
            raise UsageError(f"edit-friendly inversion of {name}: give a stochastic solver whose noise can be recorded")

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        noisy = (level.alpha * x0 + level.sigma * self.noise(x0, i) for i, level in enumerate(grid[:-1]))
        states = torch.stack([*noisy, x0])
        f = precompute(f, states[:-1], grid[:-1], ROWS)
        end = integrate(f, NoiseRecorder(self.solver, states), states[0], grid)
        return InversionPath(self.solver.with_noise(RecordedNoise(torch.stack(end.state.maps))), states)


def recorded_noise(solver: Solver[Any]) -> RecordedNoise | None:
    """Return the noise maps that an inversion bound to this solver, None without any."""
    noise = solver.noise if is_recordable(solver) else None
    return noise if isinstance(noise, RecordedNoise) else None


def ledits() -> EditFriendly:
    """Return the inversion of LEDITS++, of second order."""
    return EditFriendly(sde_dpmpp_2m())


def lcm() -> EditFriendly:
    """Return the inversion for models that were distilled to few steps.

    Edits then follow the difference between the estimates under both prompts (DDCM, Xu et al. 2023, arXiv 2312.04965).
    """
    return EditFriendly(LCM())


class RecorderMemory(NamedTuple):
    """Solver state of `NoiseRecorder`."""

    inner: Any
    maps: tuple[Tensor, ...] = ()  # (B, ...) per finished step


@dataclass(frozen=True)
class NoiseRecorder:
    """A stochastic solver that chooses its noise so that it visits the given states (N + 1, B, ...), noisiest first."""

    solver: RecordableSolver[Any]
    states: Tensor

    nfe_per_step = 1
    one_step = False
    stochastic = True

    @property
    def order(self) -> int:
        return self.solver.order

    def init(self, grid: Grid) -> RecorderMemory:
        return RecorderMemory(self.solver.init(grid))

    def step(self, f: Denoiser, x: Tensor, step: Step, state: RecorderMemory) -> tuple[Tensor, RecorderMemory]:
        """Continues from the state that the recorded map reproduces, so that rounding errors do not accumulate."""
        mean, deviation, inner = self.solver.transition(f, x, step, state.inner)
        z = (self.states[step.index + 1] - mean) / deviation
        return mean + deviation * z, RecorderMemory(inner, (*state.maps, z))
