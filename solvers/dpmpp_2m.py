"""DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): second order in the data view."""

from fastdiff.solvers.exponential import DATA, Slope, midpoint
from fastdiff.solvers.multistep import Multistep


def dpmpp_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """`slope` tells the midpoint variant from the Taylor one; `lower_final` as in Multistep."""
    return Multistep(2, DATA, slope, lower_final=lower_final)
