"""The contract between solvers and networks: a denoiser maps a noisy state and its level to an `Estimate`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from fastdiff.solvers.estimate import FROM, Estimate, Prediction
from fastdiff.solvers.schedule import Level, Schedule


class Denoiser(Protocol):
    """A network with its schedule and its conditioning already bound."""

    @property
    def schedule(self) -> Schedule: ...

    def __call__(self, x: Tensor, level: Level) -> Estimate: ...

    def fresh(self) -> "Denoiser":
        """The same function with an empty memory; every trajectory starts with one."""
        ...


@dataclass(frozen=True)
class Network:
    """A module as a denoiser.

    The module is called as `net(x, label, **given)`, with x (B, ...) and label (B,) = clock(level), both in `dtype`.
    Its output has the shape of x and comes back in the dtype of the state.
    """

    net: Callable[..., Tensor]
    schedule: Schedule
    predicts: Prediction
    clock: Callable[[Level], float]  # level -> the label that the network was trained with
    given: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        label = torch.full((x.shape[0],), self.clock(level), dtype=self.dtype, device=x.device)
        out = self.net(x.to(self.dtype), label, **self.given).to(x.dtype)
        return FROM[self.predicts](out, x, level)

    def fresh(self) -> "Network":
        return self


@dataclass
class Tally:
    """A count of calls, shared by the copies of one `Counted` denoiser."""

    calls: int = 0


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts its calls in `tally`."""

    inner: Denoiser
    tally: Tally = field(default_factory=Tally)

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        self.tally.calls += 1
        return self.inner(x, level)

    def fresh(self) -> "Counted":
        return Counted(self.inner.fresh(), self.tally)
