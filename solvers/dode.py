"""D-ODE solvers (Kim et al. 2024, arXiv 2309.16421): the newest output is carried past itself along its last change.

Every deterministic solver of one call a step takes the step that DDIM takes with some clean estimate O. Here the step
is taken with O_i + number_i (O_i - O_(i - 1)) instead, both as the plain solver has them. Around DDIM, O is the
network's own answer; around DPM-Solver++(2M) or DEIS, their mixture of answers. The first step stays as it is.
"""

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.learned_correction import LearnedCorrection, UncorrectedStep, reach

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class DODE(LearnedCorrection[S]):
    """One number a step, found by `fastdiff.solvers.tuning.dode`; the authors' own is this times `reach`."""

    count = 1

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        return () if before is None else (reach(now.t, now.u) * (now.x0 - before.x0),)
