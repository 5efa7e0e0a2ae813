"""DPM-Solver++(3M) (Lu et al. 2022, arXiv 2211.01095): third order in the data view."""

from fastdiff.solvers.exponential import DATA
from fastdiff.solvers.multistep import Multistep


def dpmpp_3m(published: bool = False, lower_final: bool = True) -> Multistep:
    """`published` halves the second derivative, as the authors' code and diffusers do, which makes it second order."""
    return Multistep(3, DATA, curvature=0.5 if published else 1.0, lower_final=lower_final)
