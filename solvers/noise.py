"""Random noise keyed by item and step, so that the batch size never changes a result."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError

NoiseSource = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class StridedNoise:
    """Noise of a run that visits a subset of a longer run's levels: its step i uses the noise of step `steps[i]`."""

    inner: NoiseSource
    steps: tuple[int, ...]

    def __call__(self, like: Tensor, step: int = 0) -> Tensor:
        return self.inner(like, self.steps[step])


@dataclass(frozen=True)
class Noise:
    """Standard normal noise keyed by (seed, item, step).

    Draws on the CPU in float32 and then moves, so device and dtype do not change the noise. `items` are the identities
    of the rows of the batch, by default 0 .. B-1. Step 0 is the start of a run.

    Raises UsageError for a negative seed, and for a batch size that differs from the number of items.
    """

    seed: int = 0
    items: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: give 0 or more")

    def __call__(self, like: Tensor, step: int = 0) -> Tensor:
        """Return noise with the shape, dtype and device of `like` (B, ...)."""
        items = range(len(like)) if self.items is None else self.items
        if len(items) != len(like):
            raise UsageError(f"noise for {len(items)} items asked for a batch of {len(like)}: the numbers must agree")
        return torch.stack([self._draw(item, step, like.shape[1:]) for item in items]).to(like)

    def _draw(self, item: int, step: int, shape: torch.Size) -> Tensor:
        key = np.random.SeedSequence([self.seed, item, step]).generate_state(1, np.uint64)[0]
        return torch.randn(shape, generator=torch.Generator().manual_seed(int(key)))
