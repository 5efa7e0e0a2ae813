"""The contract between solvers and networks: a denoiser maps a noisy state and its level to an `Estimate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeGuard, runtime_checkable

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


@runtime_checkable
class Parallel(Denoiser, Protocol):
    """A denoiser that answers about states at different levels in one call."""

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        """States (N, B, ...), each at its level, to an estimate (B, ...) of each."""
        ...


def is_parallel(f: Denoiser) -> TypeGuard[Parallel]:
    """Whether f is that, or counts the calls of one that is."""
    return is_parallel(f.inner) if isinstance(f, Counted) else isinstance(f, Parallel)


@dataclass(frozen=True)
class Network:
    """A module as a denoiser.

    The module is called as `net(x, label, **given)`, with x (B, ...) and label (B,) = clock(level), both in `dtype`.
    Its output has the shape of x and comes back in the dtype of the state. Asked about N levels at once, it is called
    with N B rows, all B of a level before those of the next, and `given` N times over.
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

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        count, rows = states.shape[:2]
        labels = torch.tensor([self.clock(level) for level in levels], dtype=self.dtype, device=states.device)
        given = {name: value.repeat(count, *[1] * (value.ndim - 1)) for name, value in self.given.items()}
        out = self.net(states.flatten(0, 1).to(self.dtype), labels.repeat_interleave(rows), **given).to(states.dtype)
        parts = zip(out.unflatten(0, (count, rows)), states, levels, strict=True)
        return [FROM[self.predicts](*part) for part in parts]

    def fresh(self) -> "Network":
        return self


@dataclass
class Tally:
    """A count of calls, shared by the copies of one `Counted` denoiser; `watch` is told every new one."""

    calls: int = 0
    watch: Callable[[int], None] = lambda calls: None

    def add(self) -> None:
        self.calls += 1
        self.watch(self.calls)


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts its calls in `tally`."""

    inner: Denoiser
    tally: Tally = field(default_factory=Tally)

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        self.tally.add()
        return self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        assert isinstance(self.inner, Parallel)
        self.tally.add()
        return self.inner.at_levels(states, levels)

    def fresh(self) -> "Counted":
        return Counted(self.inner.fresh(), self.tally)
