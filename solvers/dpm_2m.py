"""DPM-Solver 2M (Lu et al. 2022, arXiv 2206.00927): second order in the noise view."""

from fastdiff.solvers.exponential import NOISE, Slope, midpoint
from fastdiff.solvers.multistep import Multistep


def dpm_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """`slope` tells the midpoint variant from the Taylor one; `lower_final` as in Multistep."""
    return Multistep(2, NOISE, slope, lower_final=lower_final)
