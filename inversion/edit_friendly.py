"""Edit-friendly noise maps (Huberman-Spiegelglas et al. 2024, arXiv 2304.06140), for any stochastic multistep solver.

The picture is noised to every level on its own, and the noise that takes the solver from each level to the next is
kept. All states are known beforehand, so a network that can is asked about many at once. With `sde_dpmpp_1` the steps
are DDPM's, with `sde_dpmpp_2m` those of LEDITS++ (Brack et al. 2024, arXiv 2311.16711). The pictures return exactly for
any network, prompt and guidance that are the same both ways.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastdiff.inversion.batching import repeat_rows
from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.precomputed import precompute
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import RecordableSolver, Solver, Step, integrate, is_recordable
from fastdiff.solvers.noise import Noise, NoiseSource

ROWS = 8  # states in one call of a network: more are hardly faster, and take more memory


@dataclass(frozen=True, eq=False)
class RecordedNoise:
    """Recorded noise as the noise source of a solver; each picture's map goes to all of its rows."""

    z: Tensor  # (N, B, ...), one for each step

    def __call__(self, like: Tensor, step: int) -> Tensor:
        return repeat_rows(self.z[step - 1], len(like))


@dataclass(frozen=True)
class EditFriendly:
    """Records the maps of `solver`. Another seed of `noise` gives other maps, and so other edits, of the same picture.

    Raises UsageError for a deterministic solver.
    """

    solver: RecordableSolver = field(default_factory=sde_dpmpp_1)
    noise: NoiseSource = field(default_factory=Noise)

    def __post_init__(self) -> None:
        if not is_recordable(self.solver):
            raise UsageError("edit-friendly inversion of a solver that adds no noise: give a stochastic one")

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        noisy = (level.alpha * x0 + level.sigma * self.noise(x0, i) for i, level in enumerate(grid[:-1]))
        states = torch.stack([*noisy, x0])
        f = precompute(f, states[:-1], grid[:-1], ROWS)
        end = integrate(f, NoiseRecorder(self.solver, states), states[0], grid)
        return InversionPath(self.solver.with_noise(RecordedNoise(torch.stack(end.state.maps))), states)


def recorded_noise(solver: Solver) -> RecordedNoise | None:
    """The noise maps that an inversion bound to this solver, if it did."""
    noise = solver.noise if is_recordable(solver) else None
    return noise if isinstance(noise, RecordedNoise) else None


def ledits() -> EditFriendly:
    """The maps of LEDITS++, of second order."""
    return EditFriendly(sde_dpmpp_2m())


class RecorderMemory(NamedTuple):
    """The memory of a `NoiseRecorder`."""

    inner: Any
    maps: tuple[Tensor, ...] = ()  # (B, ...) for each step done


@dataclass(frozen=True)
class NoiseRecorder:
    """A stochastic solver whose noise is what leads to given states (N + 1, B, ...), noisiest first."""

    solver: RecordableSolver
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
        """The step goes on from the state that the map gives back, so that rounding does not add up."""
        mean, deviation, inner = self.solver.transition(f, x, step, state.inner)
        z = (self.states[step.index + 1] - mean) / deviation
        return mean + deviation * z, RecorderMemory(inner, (*state.maps, z))
