"""A denoiser with precomputed estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.schedule import Level


@dataclass(frozen=True, eq=False)
class PrecomputedDenoiser(DenoiserWrapper):
    """At a level in `estimates`, returns the stored estimate without calling the network.

    The caller guarantees that the state is the one of the stored estimate.
    """

    estimates: Mapping[Level, Estimate]

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return self.estimates[level] if level in self.estimates else self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        unknown = [i for i, level in enumerate(levels) if level not in self.estimates]
        others = self.inner.at_levels(states[unknown], [levels[i] for i in unknown]) if unknown else []
        known = {**self.estimates, **{levels[i]: estimate for i, estimate in zip(unknown, others, strict=True)}}
        return [known[level] for level in levels]


def precompute(f: Denoiser, states: Tensor, levels: Grid, rows: int) -> Denoiser:
    """Return f with estimates of the states (N, B, ...), each at its own level, from evaluations of up to `rows` rows.

    Returns f itself if it is not batched.
    """
    if not f.batched:
        return f
    count = max(1, rows // states.shape[1])
    parts = [(states[i : i + count], levels[i : i + count]) for i in range(0, len(levels), count)]
    estimates = [estimate for part in parts for estimate in f.at_levels(*part)]
    return PrecomputedDenoiser(f, dict(zip(levels, estimates, strict=True)))
