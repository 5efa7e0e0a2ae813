"""The contract between solvers and networks: a denoiser maps a noisy state and its noise level to an `Estimate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from fastdiff.solvers.estimate import FROM, Estimate, Prediction
from fastdiff.solvers.schedule import Level, Schedule
from fastdiff.solvers.validation import check_name


class Denoiser(Protocol):
    """A network with its noise schedule and its conditioning bound.

    `batched` is True if `at_levels` costs one network evaluation (NFE), and False if it costs one per level.
    `sequential` is True if estimates depend on earlier calls, so that calls must follow the steps of one run.
    """

    @property
    def schedule(self) -> Schedule: ...
    @property
    def batched(self) -> bool: ...
    @property
    def sequential(self) -> bool: ...

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        """Return the estimate (B, ...) for the state x (B, ...) at one noise level."""
        ...

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        """Return N estimates (B, ...) for the states (N, B, ...), each at its own noise level."""
        ...

    def fresh(self) -> "Denoiser":
        """Return the same function without memory of earlier calls. `integrate` calls it once per trajectory."""
        ...


class SingleLevelDenoiser(Protocol):
    """Base of denoisers that evaluate one noise level per call: N levels cost N calls."""

    batched: ClassVar[bool] = False
    sequential: ClassVar[bool] = False

    def __call__(self, x: Tensor, level: Level) -> Estimate: ...

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self(x, level) for x, level in zip(states, levels, strict=True)]


@dataclass(frozen=True, eq=False)
class DenoiserWrapper:
    """Base of denoisers around a denoiser. Forwards single and batched evaluation to `inner`.

    A subclass overrides `adjust` to change estimates. A subclass that overrides `__call__` must override `at_levels`
    too, because callers use either.
    """

    inner: Denoiser

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    @property
    def batched(self) -> bool:
        return self.inner.batched

    @property
    def sequential(self) -> bool:
        return self.inner.sequential

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return self.adjust(self.inner(x, level), x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        estimates = self.inner.at_levels(states, levels)
        return [self.adjust(*each) for each in zip(estimates, states, levels, strict=True)]

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        """Return the estimate to use in place of `inner`'s estimate for x (B, ...) at this level."""
        return estimate

    def fresh(self) -> Self:
        return replace(self, inner=self.inner.fresh())


@dataclass(frozen=True)
class Network:
    """A module as a denoiser.

    Calls `net(x, timestep, **given)` with x (B, ...) and timestep (B,), both in `dtype`. The output must have the shape
    of x; the estimate has the dtype of the state. Batched evaluation of N levels calls the network once with N B rows:
    all B rows of a level before those of the next level, and `given` repeated N times. Raises UsageError for an unknown
    prediction.
    """

    net: Callable[..., Tensor]
    schedule: Schedule
    predicts: Prediction
    timestep: Callable[[Level], float]  # noise level -> timestep that the network was trained with
    given: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    dtype: torch.dtype = torch.float32

    batched = True
    sequential = False

    def __post_init__(self) -> None:
        check_name("prediction", self.predicts, FROM)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        timestep = torch.full((x.shape[0],), self.timestep(level), dtype=self.dtype, device=x.device)
        out = self.net(x.to(self.dtype), timestep, **self.given).to(x.dtype)
        return FROM[self.predicts](out, x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        count, rows = states.shape[:2]
        timesteps = torch.tensor([self.timestep(level) for level in levels], dtype=self.dtype, device=states.device)
        given = {name: value.repeat(count, *[1] * (value.ndim - 1)) for name, value in self.given.items()}
        out = self.net(states.flatten(0, 1).to(self.dtype), timesteps.repeat_interleave(rows), **given).to(states.dtype)
        parts = zip(out.reshape(count, rows, *out.shape[1:]), states, levels, strict=True)
        return [FROM[self.predicts](*part) for part in parts]

    def fresh(self) -> "Network":
        return self


@dataclass
class Tally:
    """Counts network evaluations (NFE).

    All copies of one `CountingDenoiser` share it. Calls `watch` with each new count.
    """

    nfe: int = 0
    watch: Callable[[int], None] = lambda nfe: None

    def add(self) -> None:
        self.nfe += 1
        self.watch(self.nfe)


@dataclass(frozen=True, eq=False)
class CountingDenoiser(DenoiserWrapper):
    """Counts the network evaluations of `inner` in `tally`. Copies made by `fresh` share the tally."""

    tally: Tally = field(default_factory=Tally)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        self.tally.add()
        return self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        for _ in range(1 if self.batched else len(levels)):
            self.tally.add()
        return self.inner.at_levels(states, levels)
