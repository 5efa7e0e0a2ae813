"""The solvers by name. Those that add noise take it as their argument `noise`."""

from collections.abc import Callable

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integrate import Solver
from fastdiff.solvers.multistep import dpm_2m, dpmpp_2m, dpmpp_3m, sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.unipc import UniPC

SOLVERS: dict[str, Callable[..., Solver]] = {
    "ddim": DDIM,
    "euler": DDIM,  # Euler's rule in sigma / alpha, and on straight paths, is the same update
    "heun": Heun,
    "dpmpp-2s": DPMpp2S,
    "dpmpp-2m": dpmpp_2m,
    "dpmpp-3m": dpmpp_3m,
    "dpm-2m": dpm_2m,
    "sde-dpmpp-1": sde_dpmpp_1,
    "sde-dpmpp-2m": sde_dpmpp_2m,
    "euler-ancestral": EulerAncestral,
    "unipc": UniPC,
    "flow-dpm": dpmpp_2m,  # the Flow schedule makes it Flow-DPM-Solver (Xie et al. 2024, arXiv 2410.10629)
}
