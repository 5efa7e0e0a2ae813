"""SDE-DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095): the data view along the reverse-time SDE."""

from fastdiff.solvers.exponential import DIFFUSION, Slope, midpoint
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise, NoiseSource


def sde_dpmpp_1(noise: NoiseSource | None = None) -> Multistep:
    """First order: the exact posterior step of DDPM (Ho et al. 2020, arXiv 2006.11239) over any stride."""
    return Multistep(1, DIFFUSION, noise=noise or Noise())


def sde_dpmpp_2m(slope: Slope = midpoint, noise: NoiseSource | None = None) -> Multistep:
    """Second order, from one earlier value."""
    return Multistep(2, DIFFUSION, slope, noise=noise or Noise())
