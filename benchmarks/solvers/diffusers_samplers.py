"""Samplers of diffusers on fastdiff's denoisers: the same network, the same initial states, their own grids.

The network is evaluated at the exact levels of the scheduler. The pipelines of diffusers round most of them to trained
timesteps; the measured errors leave this rounding out.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import diffusers
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import DiscreteVP, from_edm_sigma

GRIDS: Mapping[str, Mapping[str, Any]] = {
    "linspace": {},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu": {"use_lu_lambdas": True},
}  # grids that begin at the start of the schedule, with the options of the class that select them
Scheduler = Any  # of diffusers: the base class SchedulerMixin declares none of their methods
CLASSES: Mapping[str, tuple[type, Mapping[str, Any]]] = {
    "DPMSolverMultistep 2": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 2}),
    "DPMSolverMultistep 3": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3}),
    "UniPC 2": (diffusers.UniPCMultistepScheduler, {"solver_order": 2}),
    "UniPC 3": (diffusers.UniPCMultistepScheduler, {"solver_order": 3}),
    "DEIS 2": (diffusers.DEISMultistepScheduler, {"solver_order": 2}),
    "DEIS 3": (diffusers.DEISMultistepScheduler, {"solver_order": 3}),
    "SASolver": (diffusers.SASolverScheduler, {"tau_func": lambda timestep: 0}),
    "DPMSolverSinglestep 2": (diffusers.DPMSolverSinglestepScheduler, {"lower_order_final": True}),
    "Heun": (diffusers.HeunDiscreteScheduler, {}),
    "Euler": (diffusers.EulerDiscreteScheduler, {}),
}
UNSCALED = (diffusers.HeunDiscreteScheduler, diffusers.EulerDiscreteScheduler)  # whose states are x / alpha


@dataclass(frozen=True)
class DiffusersSampler:
    """A class of CLASSES on one of its grids."""

    name: str
    grid: str

    def sample(self, f: Denoiser, x: Tensor, nfe: int) -> Tensor:
        if not isinstance(f.schedule, DiscreteVP):
            raise UsageError(f"{self.name} on {type(f.schedule).__name__}: it takes a table of trained levels")
        scheduler = self._scheduler(f.schedule)
        scheduler.set_timesteps((nfe + 1) // 2 if isinstance(scheduler, diffusers.HeunDiscreteScheduler) else nfe)
        scheduler.set_begin_index(0)  # else it begins at the second of two equal timesteps
        if isinstance(scheduler, UNSCALED):
            x = x / f.schedule.level(f.schedule.start).alpha
        for timestep, edm_sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
            state = scheduler.scale_model_input(x, timestep)
            x = scheduler.step(f(state, from_edm_sigma(f.schedule, edm_sigma)).eps, timestep, x).prev_sample
        return x

    def _scheduler(self, schedule: DiscreteVP) -> Scheduler:
        make, options = CLASSES[self.name]
        table = {"num_train_timesteps": len(schedule.alphas_cumprod), "trained_betas": betas(schedule)}
        return make(**table, **options, **GRIDS[self.grid])

    def __str__(self) -> str:
        return self.grid


def grids(name: str) -> Sequence[str]:
    """Return the grids that a class of CLASSES offers."""
    accepted = inspect.signature(CLASSES[name][0]).parameters
    return [grid for grid, options in GRIDS.items() if options.keys() <= accepted.keys()]


def betas(schedule: DiscreteVP) -> list[float]:
    """Return the noise variances of a table of cumulative alphas."""
    return [1 - after / before for before, after in pairwise((1.0, *schedule.alphas_cumprod))]
