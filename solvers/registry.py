"""The solvers by name. Those that add noise take it as their argument `noise`."""

from collections.abc import Callable

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.deis import deis
from fastdiff.solvers.dpm_1 import dpm_1
from fastdiff.solvers.dpm_2 import dpm_2
from fastdiff.solvers.dpm_2m import dpm_2m
from fastdiff.solvers.dpm_3 import dpm_3
from fastdiff.solvers.dpm_3m import dpm_3m
from fastdiff.solvers.dpmpp_2m import dpmpp_2m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.dpmpp_3m import dpmpp_3m
from fastdiff.solvers.dpmpp_3s import dpmpp_3s
from fastdiff.solvers.euler import Euler
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.evodiff import EVODiff
from fastdiff.solvers.flow_dpm import flow_dpm
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integrate import Solver
from fastdiff.solvers.ipndm import ipndm
from fastdiff.solvers.sa_solver import SASolver
from fastdiff.solvers.sde_dpmpp import sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.unipc import UniPC

SOLVERS: dict[str, Callable[..., Solver]] = {
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpmpp-2s": DPMpp2S,
    "dpmpp-2m": dpmpp_2m,
    "dpmpp-3m": dpmpp_3m,
    "dpmpp-3s": dpmpp_3s,
    "dpm-1": dpm_1,
    "dpm-2": dpm_2,
    "dpm-3": dpm_3,
    "dpm-2m": dpm_2m,
    "dpm-3m": dpm_3m,
    "deis": deis,
    "ipndm": ipndm,
    "sde-dpmpp-1": sde_dpmpp_1,
    "sde-dpmpp-2m": sde_dpmpp_2m,
    "sa-solver": SASolver,
    "euler-ancestral": EulerAncestral,
    "unipc": UniPC,
    "flow-dpm": flow_dpm,
    "evodiff": EVODiff,
}
