"""DPM-Solver++(3S) (Lu et al. 2022, arXiv 2211.01095): singlestep, third order in the data view."""

from fastdiff.solvers.exponential import DATA, Slope, midpoint
from fastdiff.solvers.singlestep import Singlestep


def dpmpp_3s(slope: Slope = midpoint, lower_final: bool = True) -> Singlestep:
    """`slope` and `lower_final` as in Singlestep."""
    return Singlestep(3, DATA, slope, lower_final)
