"""The solvers of diffusers on our denoisers: the same network, the same starts, and their own grids.

The network is asked at the very levels of the scheduler, where their pipelines round most of them to trained labels:
what that costs is not held against them.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import diffusers
from diffusers import SchedulerMixin
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.schedule import DiscreteVP, from_edm_sigma

PLACEMENTS: Mapping[str, Mapping[str, Any]] = {
    "linspace": {},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu": {"use_lu_lambdas": True},
}  # that begin where the schedule does, with the options that ask for them
CLASSES: Mapping[str, tuple[type[SchedulerMixin], Mapping[str, Any]]] = {
    "DPMSolverMultistep 2": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 2}),
    "DPMSolverMultistep 3": (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3}),
    "UniPC 2": (diffusers.UniPCMultistepScheduler, {"solver_order": 2}),
    "UniPC 3": (diffusers.UniPCMultistepScheduler, {"solver_order": 3}),
    "DEIS 2": (diffusers.DEISMultistepScheduler, {"solver_order": 2}),
    "DEIS 3": (diffusers.DEISMultistepScheduler, {"solver_order": 3}),
    "SASolver": (diffusers.SASolverScheduler, {"tau_func": lambda label: 0}),
    "DPMSolverSinglestep 2": (diffusers.DPMSolverSinglestepScheduler, {"lower_order_final": True}),
    "Heun": (diffusers.HeunDiscreteScheduler, {}),
    "Euler": (diffusers.EulerDiscreteScheduler, {}),
}
UNSCALED = (diffusers.HeunDiscreteScheduler, diffusers.EulerDiscreteScheduler)  # whose states are x / alpha


@dataclass(frozen=True)
class Theirs:
    """A class of CLASSES on one of its placements."""

    name: str
    placed: str

    def end(self, f: Denoiser, x: Tensor, calls: int) -> Tensor:
        if not isinstance(f.schedule, DiscreteVP):
            raise UsageError(f"{self.name} on {type(f.schedule).__name__}: it takes a table of trained levels")
        scheduler = self._scheduler(f.schedule)
        scheduler.set_timesteps((calls + 1) // 2 if isinstance(scheduler, diffusers.HeunDiscreteScheduler) else calls)
        scheduler.set_begin_index(0)  # or it begins at the second of two labels that round to the same
        if isinstance(scheduler, UNSCALED):
            x = x / f.schedule.level(f.schedule.start).alpha
        for label, edm_sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
            state = scheduler.scale_model_input(x, label)
            x = scheduler.step(f(state, from_edm_sigma(f.schedule, edm_sigma)).eps, label, x).prev_sample
        return x

    def _scheduler(self, schedule: DiscreteVP) -> SchedulerMixin:
        make, options = CLASSES[self.name]
        table = {"num_train_timesteps": len(schedule.alphas_cumprod), "trained_betas": betas(schedule)}
        return make(**table, **options, **PLACEMENTS[self.placed])

    def __str__(self) -> str:
        return self.placed


def placements(name: str) -> Sequence[str]:
    """Those that the class offers."""
    taken = inspect.signature(CLASSES[name][0].__init__).parameters
    return [placed for placed, options in PLACEMENTS.items() if options.keys() <= taken.keys()]


def betas(schedule: DiscreteVP) -> list[float]:
    return [1 - after / before for before, after in pairwise((1.0, *schedule.alphas_cumprod))]
