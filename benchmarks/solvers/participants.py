"""Participants of the comparison: every deterministic solver of fastdiff and the classes of diffusers, on all grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.solvers import diffusers_samplers
from benchmarks.solvers.diffusers_samplers import DiffusersSampler
from benchmarks.solvers.problem import Problem
from benchmarks.solvers.samplers import FastdiffSampler, FewStepSampler, Sampler
from fastdiff.apps.tuning.search import candidate_configs, grids
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.schedule import DiscreteVP, Schedule

BASELINES = ("dpmpp-2m", "unipc", "diffusers DPMSolverMultistep 2", "diffusers UniPC 2")
NOISELESS = {"sa-solver": {"tau": 0.0}}  # options that make stochastic solvers deterministic


@dataclass(frozen=True)
class Participant:
    """A solver with the sampler that has the least mean error on the samples for fitting, and this error."""

    name: str
    sampler: Sampler
    fit_error: float


@dataclass(frozen=True)
class Participants:
    """Solvers by name, each with its samplers. Probes try all grids; the other solvers try the best grids of probes."""

    samplers: Mapping[str, Sequence[Sampler]]
    probes: Sequence[str]

    def choose(self, fitting: Problem, nfe: int, grids: int) -> tuple[list[Participant], list[str]]:
        """Return the solvers that run in `nfe` evaluations, each with its best sampler, and the `grids` best grids."""
        probed = {sampler: mean_error(fitting, sampler, nfe) for name in self.probes for sampler in self.samplers[name]}
        best = list(dict.fromkeys(sampler.grid for sampler in sorted(probed, key=probed.__getitem__)))[:grids]
        chosen = []
        for name, samplers in self.samplers.items():
            if name in self.probes:
                tried = {sampler: probed[sampler] for sampler in samplers}
            else:
                on_best = [sampler for sampler in samplers if sampler.grid in best] or samplers
                tried = {sampler: mean_error(fitting, sampler, nfe) for sampler in on_best}
            sampler = min(tried, key=tried.__getitem__)
            if tried[sampler] < inf:
                chosen.append(Participant(name, sampler, tried[sampler]))
        return chosen, best


def mean_error(fitting: Problem, sampler: Sampler, nfe: int) -> float:
    """Return the mean error on the first batch; inf if the sampler has no run of `nfe` evaluations."""
    errors = fitting.errors(sampler, nfe, batches=1)
    return inf if errors is None else errors.mean().item()


def fastdiff_participants(schedule: Schedule) -> Participants:
    """Return the solvers of the registry, each in all its orders and on all grids."""
    samplers: dict[str, list[Sampler]] = {}
    for grid in grids(schedule):
        for config in candidate_configs(grid):
            samplers.setdefault(config.solver, []).append(FastdiffSampler(config))
        for name, options in NOISELESS.items():
            if name in SOLVERS:
                samplers.setdefault(name, []).append(FastdiffSampler(SamplerConfig(name, grid, options)))
    if isinstance(schedule, DiscreteVP):
        samplers["few-step"] = [FewStepSampler()]
    return Participants(samplers, BASELINES[:2])


def diffusers_participants(schedule: Schedule) -> Participants | None:
    """Return the classes of diffusers; None for a schedule without a table, whose classes are Euler and Heun."""
    if not isinstance(schedule, DiscreteVP):
        return None
    samplers = {
        f"diffusers {name}": [DiffusersSampler(name, grid) for grid in diffusers_samplers.grids(name)]
        for name in diffusers_samplers.CLASSES
    }
    return Participants(samplers, BASELINES[2:4])
