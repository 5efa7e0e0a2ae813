"""Ratios of DC-Solver for guidance scales and step counts without a search.

The cascade polynomial regression of Zhao et al. 2024 (arXiv 2409.03755): a cubic in the relative position of the step,
whose coefficients are quadratics in the guidance scale, whose coefficients are quadratics in the step count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from fastdiff.solvers.coefficients import from_tensor, to_tensor
from fastdiff.solvers.dc import DC, POINTS
from fastdiff.solvers.unipc import UniPC

SIZE = 36  # terms of the polynomial


@dataclass(frozen=True)
class Cascade:
    """The 36 coefficients, in the order of `terms`."""

    coefficients: tuple[float, ...]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Cascade":
        """Restore the cascade from `tensors()`. Raises UsageError for damaged coefficients."""
        return cls(tuple(from_tensor(cls.__name__, tensors, "coefficients", columns=SIZE)[0]))

    def tensors(self) -> dict[str, Tensor]:
        return {"coefficients": to_tensor([self.coefficients])}

    def ratios(self, guidance: float, steps: int) -> tuple[float, ...]:
        """Return one ratio per step, 1 for the first two."""
        return tuple(self._ratio(guidance, steps, step) if step >= POINTS else 1.0 for step in range(1, steps + 1))

    def solver(self, guidance: float, steps: int, inner: UniPC | None = None) -> DC:
        """Return DC around `inner`, which should be the solver of the searches."""
        return DC(inner or UniPC(), self.ratios(guidance, steps))

    def _ratio(self, guidance: float, steps: int, step: int) -> float:
        return sum(c * term for c, term in zip(self.coefficients, terms(guidance, steps, step), strict=True))


def terms(guidance: float, steps: int, step: int) -> list[float]:
    """Return the products x^k g^j n^i of the polynomial: x = step / steps, g = guidance / 12, n = steps / 50.

    k = 0..3 varies slowest, then j = 2..0, then i = 2..0. `step` counts from 1.
    """
    x, g, n = step / steps, guidance / 12, steps / 50
    return [x**k * g**j * n**i for k, j, i in product(range(4), (2, 1, 0), (2, 1, 0))]
