"""A denoiser with some of its answers known beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser, is_parallel
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grid import Grid
from fastdiff.solvers.schedule import Level, Schedule


@dataclass(frozen=True)
class Answered:
    """A denoiser that was asked about the very states that it will get at the levels of `estimates`."""

    inner: Denoiser
    estimates: Mapping[Level, Estimate]

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return self.estimates[level] if level in self.estimates else self.inner(x, level)

    def fresh(self) -> "Answered":
        return replace(self, inner=self.inner.fresh())


def asked_ahead(f: Denoiser, states: Tensor, levels: Grid, rows: int) -> Denoiser:
    """f, asked about states (N, B, ...), each at its level, with up to `rows` rows in a call.

    A denoiser that takes one level at a time is returned as it is.
    """
    if not is_parallel(f):
        return f
    count = max(1, rows // states.shape[1])
    parts = [(states[i : i + count], levels[i : i + count]) for i in range(0, len(levels), count)]
    told = [estimate for part in parts for estimate in f.at_levels(*part)]
    return Answered(f, dict(zip(levels, told, strict=True)))
