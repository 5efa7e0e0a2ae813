"""DPM-Solver-3 (Lu et al. 2022, arXiv 2206.00927, algorithm 2): singlestep, third order in the noise view."""

from fastdiff.solvers.exponential import NOISE, Slope, midpoint
from fastdiff.solvers.singlestep import Singlestep


def dpm_3(slope: Slope = midpoint, lower_final: bool = True) -> Singlestep:
    """`slope` and `lower_final` as in Singlestep."""
    return Singlestep(3, NOISE, slope, lower_final)
