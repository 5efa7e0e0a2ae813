"""D-ODE solvers (Kim et al. 2024, arXiv 2309.16421): extrapolate the newest output along its last change.

Every deterministic solver of one evaluation per step takes the step of DDIM with some clean estimate O. D-ODE takes the
step with O_i + coefficient_i (O_i - O_(i - 1)), with both O as in the base solver. For DDIM, O is the network's own
estimate; for DPM-Solver++(2M) or DEIS a combination of estimates. The first step is unchanged.
"""

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fastdiff.solvers.learned_correction import LearnedCorrection, UncorrectedStep, reach

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class DODE(LearnedCorrection[S]):
    """One coefficient per step, fitted by `fastdiff.solvers.tuning.dode`.

    The authors' coefficients are these times `reach`.
    """

    count = 1

    def directions(self, now: UncorrectedStep, before: UncorrectedStep | None) -> tuple[Tensor, ...]:
        return () if before is None else (reach(now.t, now.u) * (now.x0 - before.x0),)
