"""DPM-Solver-2 (Lu et al. 2022, arXiv 2206.00927, algorithm 1): singlestep, second order in the noise view."""

from fastdiff.solvers.exponential import NOISE, Slope, midpoint
from fastdiff.solvers.singlestep import Singlestep


def dpm_2(slope: Slope = midpoint) -> Singlestep:
    """`slope` tells the published variant from the Taylor one."""
    return Singlestep(2, NOISE, slope)
