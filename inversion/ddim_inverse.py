"""DDIM inversion with the noise asked for at the noisier end of each step.

It evaluates the network at the labels that sampling visits, as the code of null-text inversion does (Mokady et al.
2023, arXiv 2211.09794). Exact for short steps only.
"""

from dataclasses import dataclass

from torch import Tensor

from fastdiff.inversion.inversion import Path
from fastdiff.inversion.reversed import climb
from fastdiff.solvers.ddim import DDIM, remix
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.estimate import from_eps
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step


@dataclass(frozen=True)
class DDIMInverse:
    """The inverse of DDIM as a solver; called, it inverts pictures."""

    order = 1
    evals = 1
    one_step = True
    stochastic = False

    def __call__(self, f: Denoiser, x0: Tensor, grid: Grid) -> Path:
        return Path(DDIM(), climb(f, self, x0, grid)[0])

    def init(self, grid: Grid) -> None:
        return None

    def step(self, f: Denoiser, x: Tensor, step: Step, state: None) -> tuple[Tensor, None]:
        return remix(from_eps(f(x, step.u).eps, x, step.t), step.u), None
