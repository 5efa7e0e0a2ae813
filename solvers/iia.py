"""Improved integration approximation (Zhang et al. 2024, arXiv 2304.11328): coarse steps fitted to fine steps.

The authors published no code. The forms around DDIM follow reproductions by others. The forms around Heun's rule and
DPM-Solver++(2M) are reconstructions: nobody has confirmed that the paper uses the same directions.
"""

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.learned_correction import LearnedCorrection, UncorrectedStep

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class IIA(LearnedCorrection[S]):
    """Around DDIM or DPM-Solver++(2M): the changes of x0 and eps since the previous step."""

    count = 2

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        if before is None:
            return ()
        new, old = now.estimates[0], before.estimates[0]
        return new.x0 - old.x0, new.eps - old.eps


@dataclass(frozen=True, eq=False)
class NoiseIIA(LearnedCorrection[S]):
    """Around DDIM under guidance: eps alone, from the first step on."""

    count = 1

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        return (now.estimates[0].eps,)


@dataclass(frozen=True, eq=False)
class HeunIIA(LearnedCorrection[None]):
    """Around `Heun`: the two gradients of this step and of the previous one.

    In z = x / alpha, Heun's slope is (z - x0) / s_t + (x0 - x0') / (2 s_u), with s = sigma / alpha and x0' the second
    estimate. The first term is eps; the second is half of its change within the step. A step of one evaluation is
    unchanged.
    """

    count = 4

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        if len(now.estimates) < 2:
            return ()
        stride = now.u.alpha * (now.u.edm_sigma - now.t.edm_sigma)
        return tuple(stride * gradient for step in (now, before) for gradient in gradients(step))


def gradients(step: UncorrectedStep | None) -> tuple[Tensor, ...]:
    """Return the first and second gradient (B, ...) of a step of Heun's rule; none for a step of one evaluation."""
    if step is None or len(step.estimates) < 2:
        return ()
    first, second = step.estimates
    return first.eps, (first.x0 - second.x0) / (2 * step.u.edm_sigma)
