"""DPM-Solver 3M (Lu et al. 2022, arXiv 2206.00927): third order in the noise view."""

from fastdiff.solvers.exponential import NOISE
from fastdiff.solvers.multistep import Multistep


def dpm_3m(published: bool = False, lower_final: bool = True) -> Multistep:
    """`published` halves the second derivative, as the authors' code and diffusers do, which makes it second order."""
    return Multistep(3, NOISE, curvature=0.5 if published else 1.0, lower_final=lower_final)
