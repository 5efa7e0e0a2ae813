"""DPM-Solver-1 (Lu et al. 2022, arXiv 2206.00927): first order in the noise view. Its step is DDIM's."""

from fastdiff.solvers.exponential import NOISE
from fastdiff.solvers.singlestep import Singlestep


def dpm_1() -> Singlestep:
    """No option."""
    return Singlestep(1, NOISE)
