"""Improved integration approximation (Zhang et al. 2024, arXiv 2304.11328): a coarse step fitted to fine ones.

The authors published no code. The forms around DDIM follow reproductions by others. Those around Heun's rule and
DPM-Solver++(2M) are reconstructed: that the same directions serve there as in the paper is unconfirmed.
"""

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.learned_correction import LearnedCorrection, UncorrectedStep

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class IIA(LearnedCorrection[S]):
    """Around DDIM or DPM-Solver++(2M): the changes of both views of the answer since the step before."""

    count = 2

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        if before is None:
            return ()
        new, old = now.estimates[0], before.estimates[0]
        return new.x0 - old.x0, new.eps - old.eps


@dataclass(frozen=True, eq=False)
class NoiseIIA(LearnedCorrection[S]):
    """Around DDIM under guidance: the noise estimate alone, from the first step on."""

    count = 1

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        return (now.estimates[0].eps,)


@dataclass(frozen=True, eq=False)
class HeunIIA(LearnedCorrection[None]):
    """Around `Heun`: its two gradients, of this step and of the one before.

    In z = x / alpha, Heun's slope is (z - x0) / edm_sigma_t + (x0 - x0') / (2 edm_sigma_u), with x0' the second answer.
    The first term is the noise estimate, the second half of its change on the way. A step of one call stays as it is.
    """

    count = 4

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        if len(now.estimates) < 2:
            return ()
        stride = now.u.alpha * (now.u.edm_sigma - now.t.edm_sigma)
        return tuple(stride * gradient for step in (now, before) for gradient in gradients(step))


def gradients(step: UncorrectedStep | None) -> tuple[Tensor, ...]:
    """The first and second gradient (B, ...) of a step of Heun's rule, none where it was of one call."""
    if step is None or len(step.estimates) < 2:
        return ()
    first, second = step.estimates
    return first.eps, (first.x0 - second.x0) / (2 * step.u.edm_sigma)
