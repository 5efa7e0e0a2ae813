"""The solvers by name. Those that add noise take it as their argument `noise`."""

from collections.abc import Callable

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpm_2m import dpm_2m
from fastdiff.solvers.dpmpp_2m import dpmpp_2m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.dpmpp_3m import dpmpp_3m
from fastdiff.solvers.euler import Euler
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.flow_dpm import flow_dpm
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integrate import Solver
from fastdiff.solvers.sde_dpmpp import sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.unipc import UniPC

SOLVERS: dict[str, Callable[..., Solver]] = {
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpmpp-2s": DPMpp2S,
    "dpmpp-2m": dpmpp_2m,
    "dpmpp-3m": dpmpp_3m,
    "dpm-2m": dpm_2m,
    "sde-dpmpp-1": sde_dpmpp_1,
    "sde-dpmpp-2m": sde_dpmpp_2m,
    "euler-ancestral": EulerAncestral,
    "unipc": UniPC,
    "flow-dpm": flow_dpm,
}
