"""Local blending: outside the edited region the targets equal the source after every step.

The region is a given mask, or where the prompts' words receive attention (Prompt-to-Prompt, Hertz et al. 2022, arXiv
2208.01626, section 3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from fastdiff.apps.edit.control import AttentionMaps
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.solver_wrapper import SolverWrapper

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Blended(SolverWrapper[S]):
    """A solver whose steps to `start` and cleaner levels end with x = source + mask (x - source).

    Row 0 is the source. `mask` is called after every such step and returns (1 or rows, 1, h, w) in [0, 1]: 1 keeps the
    edit.
    """

    mask: Callable[[], Tensor]
    start: Level

    def init(self, grid: Grid) -> S:
        return self.inner.init(grid)

    def step(self, f: Denoiser, x: Tensor, step: Step, state: S) -> tuple[Tensor, S]:
        x, state = self.inner.step(f, x, step, state)
        return (torch.lerp(x[:1], x, self.mask().to(x)) if step.u.lam >= self.start.lam else x), state


@dataclass(frozen=True)
class AttendedRegion:
    """A mask for `Blended`: where the source or the target has attended to a set of tracked words so far."""

    maps: AttentionMaps
    which: int  # of the sets
    tokens: tuple[int, int]  # rows and columns of the token grid
    latents: tuple[int, int]  # h, w
    threshold: float = 0.3  # of the highest attention

    def __call__(self) -> Tensor:
        """(rows, 1, h, w), 0 or 1. Raises UsageError before the first step."""
        maps = self.maps.total
        if maps is None:
            raise UsageError("no attention was written down: blending by words starts after the first step")
        attention = max_pool2d(maps[self.which].unflatten(1, (1, *self.tokens)), 3, stride=1, padding=1)
        attention = interpolate(attention, self.latents, mode="bilinear", align_corners=False)
        inside = attention > self.threshold * attention.amax(dim=(2, 3), keepdim=True)
        return (inside | inside[:1]).float()
