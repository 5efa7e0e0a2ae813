"""The solvers by name. Stochastic solvers take an argument `noise`."""

from collections.abc import Callable
from typing import Any

from fastdiff.solvers.adams_bashforth import deis, ipndm
from fastdiff.solvers.ddim import DDIM, Euler
from fastdiff.solvers.dpm_solver import (
    dpm_1,
    dpm_2,
    dpm_2m,
    dpm_3,
    dpm_3m,
    dpmpp_2m,
    dpmpp_3m,
    dpmpp_3s,
    flow_dpm,
    sde_dpmpp_1,
    sde_dpmpp_2m,
)
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.evodiff import EVODiff
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.sa_solver import SASolver
from fastdiff.solvers.unipc import UniPC

SOLVERS: dict[str, Callable[..., Solver[Any]]] = {
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
