"""DDIM inversion with eps evaluated at the noisier end of each step.

Evaluates the network at the timesteps that sampling visits, as the code of null-text inversion does (Mokady et al.
2023, arXiv 2211.09794). Exact for short steps only.
"""

from dataclasses import dataclass

from torch import Tensor

from fastdiff.inversion.inversion import InversionPath
from fastdiff.inversion.reversed import integrate_upwards
from fastdiff.solvers.ddim import DDIM, renoise
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.estimate import from_eps
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step


@dataclass(frozen=True)
class DDIMInverse:
    """The inverse of DDIM as a solver. A call inverts pictures."""

    order = 1
    nfe_per_step = 1
    one_step = True
    stochastic = False

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> InversionPath:
        return InversionPath(DDIM(), integrate_upwards(f, self, x0, grid)[0])

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        return renoise(from_eps(f(x, step.u).eps, x, step.t), step.u), None
