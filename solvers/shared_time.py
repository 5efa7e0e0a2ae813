"""Shared conditions near t = 0 (E-TSDM, Yang et al. 2024, arXiv 2306.11251): one label for a whole stretch of levels.

The best answer changes ever faster with the label as the noise vanishes, which a network can hardly follow. One that is
trained with shared labels need not; one that was not is usually worse with them. Only the label is shared: the noise of
the states, and whatever is computed from it, stays as it is.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import Level

Clock = Callable[[Level], float]  # level -> the label that the network was trained with


@dataclass(frozen=True)
class SharedLabels:
    """Called with a label, the lower edge of its part: labels from 0 to `threshold` fall in `parts` equal ones.

    Others stay as they are. Raises UsageError for a negative threshold and for less than one part.
    """

    threshold: float = 100.0  # in the units of the label
    parts: int = 5

    def __post_init__(self) -> None:
        if self.threshold < 0 or self.parts < 1:
            raise UsageError(f"{self.parts} parts of labels up to {self.threshold}: give one or more, up to 0 or more")

    def __call__(self, label: float) -> float:
        if not 0 <= label < self.threshold:
            return label
        edges = [self.threshold * i / self.parts for i in range(self.parts)]
        return edges[bisect_right(edges, label) - 1]

    def clock(self, inner: Clock) -> Clock:
        """`inner` with shared labels: replace(network, clock=SharedLabels().clock(network.clock))."""
        return lambda level: self(inner(level))
