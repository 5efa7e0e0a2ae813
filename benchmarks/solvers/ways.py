"""Ways to get from a start to an end with so many calls of a network: a solver, and where its steps lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.few_step_grids import few_step
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import TUNED


class Way(Protocol):
    """As text it says what sets it apart from other ways of the same solver."""

    @property
    def placed(self) -> str: ...  # the name of its grid

    def end(self, f: Denoiser, x: Tensor, calls: int) -> Tensor:
        """The end (B, ...) of a run from x (B, ...) at the noisiest level.

        Raises UsageError where so many calls pay for no such run, or the grid does not fit.
        """
        ...


@dataclass(frozen=True, eq=False)
class Ours:
    """A solver of the registry."""

    recipe: SamplerConfig

    @property
    def placed(self) -> str:
        return self.recipe.grid

    def end(self, f: Denoiser, x: Tensor, calls: int) -> Tensor:
        solver = self.recipe.make()
        return integrate(f, solver, x, self.recipe.levels(f.schedule, calls, solver.nfe_per_step)).x

    def __str__(self) -> str:
        return told(self.recipe)


@dataclass(frozen=True)
class FewStep:
    """The solvers and grids of "Hyperparameters are all you need", for five, six and eight calls.

    The end keeps much of its noise by intent, and so lies far from a clean one.
    """

    placed = "few-step"

    def end(self, f: Denoiser, x: Tensor, calls: int) -> Tensor:
        solver = dpmpp_2m(lower_final=False) if calls == 8 else DDIM()
        return integrate(f, solver, x, grid(few_step, f.schedule, calls)).x

    def __str__(self) -> str:
        return self.placed


@dataclass(frozen=True, eq=False)
class Fitted:
    """A tuned solver with the numbers of one fit, for one number of calls."""

    recipe: SamplerConfig
    tensors: Mapping[str, Tensor]

    @property
    def placed(self) -> str:
        return self.recipe.grid

    def end(self, f: Denoiser, x: Tensor, calls: int) -> Tensor:
        solver = TUNED[self.recipe.solver].restore(self.tensors, **self.recipe.options)
        return integrate(f, solver, x, self.recipe.levels(f.schedule, calls, solver.nfe_per_step)).x

    def __str__(self) -> str:
        return told(self.recipe)


def told(recipe: SamplerConfig) -> str:
    """Such as `karras+clean, order 2, corrector`: the numbers by name, and the switches that are on."""
    options = [name if value is True else f"{name} {value:g}" for name, value in recipe.options.items()
               if name != "base" and value is not False]  # fmt: skip
    return ", ".join([recipe.grid, *options])
