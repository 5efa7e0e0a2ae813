"""Guidance: a rule combines the conditional and the unconditional estimates of a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.estimate import Estimate, from_x0
from fastdiff.solvers.rows import row_values
from fastdiff.solvers.schedule import Level, Schedule

Mask = Callable[[Tensor, Level], Tensor]


class EstimatePair(NamedTuple):
    """Two estimates of one state, each (B, ...)."""

    conditional: Estimate
    unconditional: Estimate


class ConditionalDenoiser(Protocol):
    """A network with its schedule and its conditioning bound, without guidance."""

    @property
    def schedule(self) -> Schedule: ...
    @property
    def batched(self) -> bool: ...  # True if several levels cost one network evaluation

    def conditional(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        """Estimate states (N, B, ...), each at its level, in one call of the network on N B rows."""
        ...

    def pairs(self, states: Tensor, levels: Sequence[Level]) -> list[EstimatePair]:
        """Estimate states (N, B, ...) with and without the conditioning, in one call of the network on 2 N B rows."""
        ...

    def fresh(self) -> "ConditionalDenoiser":
        """The same function with an empty memory."""
        ...


class GuidanceRule(Protocol):
    """A combination of a conditional and an unconditional estimate."""

    def needs_unconditional(self, level: Level) -> bool:
        """False where the conditional estimate is the result: the network is then called on half the rows."""
        ...

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        """The guided estimate of a state x (B, ...), at a level that needs the unconditional one."""
        ...


@dataclass(frozen=True)
class Guided:
    """A denoiser that applies a guidance rule to the estimates of a network."""

    network: ConditionalDenoiser
    rule: GuidanceRule

    sequential = False

    @property
    def schedule(self) -> Schedule:
        return self.network.schedule

    @property
    def batched(self) -> bool:
        return self.network.batched

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return self.at_levels(x[None], (level,))[0]

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        """Estimate states (N, B, ...), each at its level, in one call of the network.

        Where the rule needs the unconditional estimate at some levels alone, these and the others take a call each.
        """
        needs = [self.rule.needs_unconditional(level) for level in levels]
        if not any(needs):
            return self.network.conditional(states, levels)
        if not all(needs):
            found: dict[int, Estimate] = {}
            for need in (True, False):
                chosen = [index for index, each in enumerate(needs) if each is need]
                estimates = self.at_levels(states[chosen], [levels[index] for index in chosen])
                found |= zip(chosen, estimates, strict=True)
            return [found[index] for index in range(len(levels))]
        pairs = self.network.pairs(states, levels)
        return [self.rule.combine(*each) for each in zip(pairs, states, levels, strict=True)]

    def fresh(self) -> "Guided":
        return replace(self, network=self.network.fresh())


@dataclass(frozen=True)
class Unguided:
    """The conditional estimate itself: for scale 1, for networks without conditioning, and for those that take the
    guidance scale as an input."""

    def needs_unconditional(self, level: Level) -> bool:
        return False

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        return pair.conditional


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance, unconditional + scale * (conditional - unconditional).

    Ho and Salimans 2022, arXiv 2207.12598. `scale` is one number for all rows, or one for each of B rows.
    """

    scale: float | tuple[float, ...]

    def needs_unconditional(self, level: Level) -> bool:
        return self.scale != 1

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        scale: float | Tensor = self.scale if isinstance(self.scale, int | float) else _column(self.scale, x)
        return Estimate(*(torch.lerp(a, b, scale) for a, b in zip(pair.unconditional, pair.conditional, strict=True)))


@dataclass(frozen=True)
class Interval:
    """Guidance by `rule` where low <= t <= high, in the schedule's time (Kynkäänniemi et al. 2024, arXiv 2404.07724).

    Elsewhere the conditional estimate is the result.
    """

    rule: GuidanceRule
    low: float = 0.0
    high: float = inf

    def needs_unconditional(self, level: Level) -> bool:
        return self.low <= level.t <= self.high and self.rule.needs_unconditional(level)

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        return self.rule.combine(pair, x, level)


@dataclass(frozen=True)
class Rescaled:
    """Guidance by `rule`, with the deviation of x0 moved towards that of the conditional estimate, per item.

    `share` in [0, 1] says how far (Lin et al. 2024, arXiv 2305.08891, section 3.4).
    """

    rule: GuidanceRule
    share: float

    def needs_unconditional(self, level: Level) -> bool:
        return self.rule.needs_unconditional(level)

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        x0 = self.rule.combine(pair, x, level).x0
        ratio = _deviation(pair.conditional.x0) / _deviation(x0)
        return from_x0(x0 * (1 + self.share * (ratio - 1)), x, level)


@dataclass(frozen=True)
class Masked:
    """Guidance by `rule` where a mask is 1; the unconditional estimate where it is 0.

    `mask` maps the difference conditional - unconditional of the noise estimates (B, C, h, w) and their noise level to
    (B, 1, h, w) in [0, 1].
    """

    rule: GuidanceRule
    mask: Mask

    def needs_unconditional(self, level: Level) -> bool:
        return self.rule.needs_unconditional(level)

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        share = self.mask(pair.conditional.eps - pair.unconditional.eps, level)
        guided = self.rule.combine(pair, x, level)
        return Estimate(*(torch.lerp(a, b, share) for a, b in zip(pair.unconditional, guided, strict=True)))


@dataclass(frozen=True, eq=False)
class Thresholded(DenoiserWrapper):
    """Dynamic thresholding (Saharia et al. 2022, arXiv 2205.11487), for pixels in [-1, 1], never for latents.

    Per item of at most 2^24 elements, clamps x0 to its `ratio` quantile of magnitude, at least 1, and divides by it.
    """

    ratio: float = 0.995

    def adjust(self, estimate: Estimate, x: Tensor, level: Level) -> Estimate:
        x0 = estimate.x0
        bound = torch.quantile(x0.abs().flatten(1), self.ratio, dim=1).clamp(min=1)
        bound = row_values(bound, x0)
        return from_x0(x0.clamp(-bound, bound) / bound, x, level)


def _deviation(x: Tensor) -> Tensor:
    return x.std(dim=tuple(range(1, x.ndim)), keepdim=True)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """(B,) numbers as (B, 1, ...), to go with rows (B, ...)."""
    return row_values(torch.tensor(values, dtype=like.dtype, device=like.device), like)
