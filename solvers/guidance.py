"""Wrappers of denoisers: classifier-free guidance and dynamic thresholding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser, DenoiserWrapper
from fastdiff.solvers.estimate import Estimate, from_x0
from fastdiff.solvers.schedule import Level, Schedule


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): unconditional + scale * difference.

    Guidance acts for low <= t <= high of `interval` = (low, high), in the schedule's time (Kynkäänniemi et al. 2024,
    arXiv 2404.07724). Elsewhere, and at scale 1, only the conditional denoiser is evaluated. `rescale` in [0, 1] moves
    the standard deviation of the guided x0 towards that of the conditional x0, per item (Lin et al. 2024, arXiv
    2305.08891, section 3.4).
    """

    conditional: Denoiser
    unconditional: Denoiser
    scale: float
    interval: tuple[float, float] = (0.0, inf)
    rescale: float = 0.0

    @property
    def schedule(self) -> Schedule:
        return self.conditional.schedule

    @property
    def batched(self) -> bool:
        return self.conditional.batched and self.unconditional.batched

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        with_condition = self.conditional(x, level)
        if not self._acts(level):
            return with_condition
        return self._combined(with_condition, self.unconditional(x, level), x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        estimates = self.conditional.at_levels(states, levels)
        guided = [i for i, level in enumerate(levels) if self._acts(level)]
        if guided:
            without = self.unconditional.at_levels(states[guided], [levels[i] for i in guided])
            for i, other in zip(guided, without, strict=True):
                estimates[i] = self._combined(estimates[i], other, states[i], levels[i])
        return estimates

    def _acts(self, level: Level) -> bool:
        low, high = self.interval
        return self.scale != 1 and low <= level.t <= high

    def _combined(self, with_condition: Estimate, without: Estimate, x: Tensor, level: Level) -> Estimate:
        guided = Estimate(*(torch.lerp(a, b, self.scale) for a, b in zip(without, with_condition, strict=True)))
        if self.rescale == 0:
            return guided
        ratio = _deviation(with_condition.x0) / _deviation(guided.x0)
        return from_x0(guided.x0 * (1 + self.rescale * (ratio - 1)), x, level)

    def fresh(self) -> "Guided":
        return replace(self, conditional=self.conditional.fresh(), unconditional=self.unconditional.fresh())


@dataclass(frozen=True, eq=False)
class Thresholded(DenoiserWrapper):
    """Dynamic thresholding (Saharia et al. 2022, arXiv 2205.11487), for pixels in [-1, 1], never for latents.

    Per item of at most 2^24 elements, clamps x0 to its `ratio` quantile of magnitude, at least 1, and divides by it.
    """

    ratio: float = 0.995

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        x0 = estimate.x0
        bound = torch.quantile(x0.abs().flatten(1), self.ratio, dim=1).clamp(min=1)
        bound = bound.reshape(-1, *[1] * (x0.ndim - 1))
        return from_x0(x0.clamp(-bound, bound) / bound, x, level)


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True)
