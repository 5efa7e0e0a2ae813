"""The classes of diffusers by method, and tuned solvers with arbitrary coefficients, for measuring host times."""

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor

from fastdiff.solvers.dc import DC
from fastdiff.solvers.dode import DODE
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.dpm_v3 import DPMv3
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.iia import IIA
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.v3_statistics import Statistics
from fastdiff.solvers.with_teleport import WithTeleport

_MULTISTEP = diffusers.DPMSolverMultistepScheduler
_SINGLESTEP = diffusers.DPMSolverSinglestepScheduler
_DPM = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "lower_order_final": True}
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}

DIFFUSERS_CLASSES: list[tuple[str, type, Mapping[str, Any]]] = [
    ("ddim", diffusers.DDIMScheduler, {"clip_sample": False}),
    ("euler", diffusers.EulerDiscreteScheduler, {}),
    ("euler", diffusers.FlowMatchEulerDiscreteScheduler, {}),
    ("heun", diffusers.HeunDiscreteScheduler, {}),
    ("dpmpp-2s", _SINGLESTEP, {"lower_order_final": True}),
    ("dpmpp-3s", _SINGLESTEP, {"solver_order": 3, "lower_order_final": True}),
    ("dpmpp-2m", _MULTISTEP, {"solver_order": 2}),
    ("dpmpp-3m", _MULTISTEP, {"solver_order": 3}),
    ("dpm-1", _SINGLESTEP, _DPM | {"solver_order": 1}),
    ("dpm-2", _SINGLESTEP, _DPM | {"solver_order": 2}),
    ("dpm-3", _SINGLESTEP, _DPM | {"solver_order": 3}),
    ("dpm-2m", _MULTISTEP, _DPM | {"solver_order": 2}),
    ("dpm-3m", _MULTISTEP, _DPM | {"solver_order": 3}),
    ("deis", diffusers.DEISMultistepScheduler, {"solver_order": 2}),
    ("ipndm", diffusers.IPNDMScheduler, {}),
    ("sde-dpmpp-1", _MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}),
    ("sde-dpmpp-2m", _MULTISTEP, {"algorithm_type": "sde-dpmsolver++"}),
    ("sa-solver", diffusers.SASolverScheduler, {"tau_func": lambda timestep: 1}),
    ("euler-ancestral", diffusers.EulerAncestralDiscreteScheduler, {}),
    ("unipc", diffusers.UniPCMultistepScheduler, {"solver_order": 2}),
    ("flow-dpm", _MULTISTEP, _FLOW),
]  # solver of fastdiff, class of the same method, its options


def tuned_solvers(levels: Grid, x: Tensor) -> list[tuple[str, Solver, str]]:
    """Return name, solver for these levels and states (1, C, ...), and the name of its plain solver."""
    steps = len(levels) - 1
    lam = torch.linspace(levels[0].lam, levels[-1].lam, 121, dtype=torch.float64)
    parts = torch.full((3, 121, x.shape[1], 1, 1), 0.1)
    gaussian = Teleport(torch.zeros(x.shape[1:]), torch.linalg.qr(torch.randn(x[0].numel(), 32)).Q, torch.ones(32))
    return [
        ("v3", DPMv3(Statistics(lam, *parts), order=2), "unipc"),
        ("dc", DC(UniPC(), (0.9,) * steps), "unipc"),
        ("dode", DODE(dpmpp_2m(), ((0.1,),) * steps), "dpmpp-2m"),
        ("iia", IIA(dpmpp_2m(), ((0.1, 0.1),) * steps), "dpmpp-2m"),
        ("teleport", WithTeleport(dpmpp_2m(), gaussian, 4), "dpmpp-2m"),
    ]
