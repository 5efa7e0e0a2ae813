"""The DPM-Solver family by name: exponential integrators that differ in parameterization, order and memory.

DPM-Solver (Lu et al. 2022, arXiv 2206.00927) predicts eps, DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) x0, and
SDE-DPM-Solver++ x0 along the reverse-time SDE. S stands for singlestep, M for multistep.
"""

from fastdiff.solvers.exponential import EPS, X0, X0_SDE, Slope, midpoint
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise, NoiseSource
from fastdiff.solvers.singlestep import Singlestep


def dpm_1() -> Singlestep:
    """DPM-Solver-1: first order. Its step is DDIM's."""
    return Singlestep(1, EPS)


def dpm_2(slope: Slope = midpoint) -> Singlestep:
    """DPM-Solver-2 (algorithm 1): singlestep, second order.

    `slope`: midpoint is published, taylor the Taylor variant.
    """
    return Singlestep(2, EPS, slope)


def dpm_3(slope: Slope = midpoint, lower_final: bool = True) -> Singlestep:
    """DPM-Solver-3 (algorithm 2): singlestep, third order. `slope` and `lower_final` as in Singlestep."""
    return Singlestep(3, EPS, slope, lower_final)


def dpm_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """DPM-Solver 2M: second order. `slope`: the midpoint or the Taylor variant; `lower_final` as in Multistep."""
    return Multistep(2, EPS, slope, lower_final=lower_final)


def dpm_3m(published: bool = False, lower_final: bool = True) -> Multistep:
    """DPM-Solver 3M: third order.

    `published` halves the second derivative, as the authors' code and diffusers do, which makes it second order.
    """
    return Multistep(3, EPS, curvature=0.5 if published else 1.0, lower_final=lower_final)


def dpmpp_3s(slope: Slope = midpoint, lower_final: bool = True) -> Singlestep:
    """DPM-Solver++(3S): singlestep, third order. `slope` and `lower_final` as in Singlestep."""
    return Singlestep(3, X0, slope, lower_final)


def dpmpp_2m(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """DPM-Solver++(2M) (algorithm 2): second order.

    `slope`: the midpoint or the Taylor variant; `lower_final` as in Multistep.
    """
    return Multistep(2, X0, slope, lower_final=lower_final)


def dpmpp_3m(published: bool = False, lower_final: bool = True) -> Multistep:
    """DPM-Solver++(3M): third order.

    `published` halves the second derivative, as the authors' code and diffusers do, which makes it second order.
    """
    return Multistep(3, X0, curvature=0.5 if published else 1.0, lower_final=lower_final)


def sde_dpmpp_1(noise: NoiseSource | None = None) -> Multistep:
    """SDE-DPM-Solver++(1): the exact posterior step of DDPM (Ho et al. 2020, arXiv 2006.11239) over any stride."""
    return Multistep(1, X0_SDE, noise=noise or Noise())


def sde_dpmpp_2m(slope: Slope = midpoint, noise: NoiseSource | None = None) -> Multistep:
    """SDE-DPM-Solver++(2M): weak second order, from one earlier prediction."""
    return Multistep(2, X0_SDE, slope, noise=noise or Noise())


def flow_dpm(slope: Slope = midpoint, lower_final: bool = True) -> Multistep:
    """Flow-DPM-Solver (Xie et al. 2024, SANA, arXiv 2410.10629): DPM-Solver++(2M) on a shifted `Flow` schedule.

    The schedule supplies alpha = 1 - t and sigma = t, and `Estimate` the x0 prediction of a velocity.
    """
    return dpmpp_2m(slope, lower_final)
