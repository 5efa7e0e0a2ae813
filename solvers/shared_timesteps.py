"""Shared timestep conditions near t = 0 (E-TSDM, Yang et al. 2024, arXiv 2306.11251): one timestep for many levels.

The optimal output changes ever faster with the timestep as the noise vanishes, and networks follow badly. A network
that was trained with shared timesteps is stable there; any other network usually gets worse with them. Only the
timestep is shared: solvers still use the true noise level of the state.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import Level

TimestepFunction = Callable[[Level], float]  # noise level -> timestep that the network was trained with


@dataclass(frozen=True)
class SharedTimesteps:
    """Maps a timestep to the lower edge of its part. `parts` equal parts divide the range from 0 to `threshold`.

    Timesteps outside the range are unchanged. Raises UsageError for a negative threshold, and for less than one part.
    """

    threshold: float = 100.0  # timestep
    parts: int = 5

    def __post_init__(self) -> None:
        if self.threshold < 0 or self.parts < 1:
            raise UsageError(
                f"{self.parts} parts of timesteps up to {self.threshold}: give one or more, up to 0 or more"
            )

    def __call__(self, timestep: float) -> float:
        if not 0 <= timestep < self.threshold:
            return timestep
        edges = [self.threshold * i / self.parts for i in range(self.parts)]
        return edges[bisect_right(edges, timestep) - 1]

    def wrap(self, inner: TimestepFunction) -> TimestepFunction:
        """Return `inner` with shared timesteps.

        Use: replace(network, timestep=SharedTimesteps().wrap(network.timestep)).
        """
        return lambda level: self(inner(level))
