"""Host time: what a solver spends around a call of the network, beside diffusers and inside one of its pipelines.

The network is a stored tensor, the state 1 x 4 x 64 x 64 in float32, one thread.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from benchmarks.result import Section, Table
from benchmarks.solvers.opponents import OPPONENTS, fitted
from fastdiff.models.diffusers_scheduler import fastdiff_scheduler
from fastdiff.solvers.denoiser import CountingDenoiser, SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import FROM, Estimate, Prediction
from fastdiff.solvers.grids import Grid, grid, log_snr, trailing
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import DiscreteVP, Flow, Level, Schedule, from_edm_sigma

STEPS = 50
ROUNDS = 40


@dataclass(frozen=True)
class Stored(SingleLevelDenoiser):
    """A network that costs nothing."""

    output: Tensor
    schedule: Schedule
    predicts: Prediction

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return FROM[self.predicts](self.output, x, level)

    def fresh(self) -> "Stored":
        return self


@dataclass(frozen=True)
class Run:
    """Something to time, and how many calls of the network it stands for."""

    go: Callable[[], object]
    calls: int
    before: Callable[[], object] = lambda: None  # not timed


def run(calls: Sequence[int], limit: int | None) -> Section:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return Section([_beside(), _fitted()])
    finally:
        torch.set_num_threads(threads)


def _beside() -> Table:
    """Every solver of the registry, and the class of diffusers with the same method where there is one."""
    x, output = states()
    rows = []
    for name, scheduler in opponents():
        f, levels = same_run(scheduler, output)
        runs = {"ours": ours(f, SOLVERS[name](), x, levels), **adapted(name, x, output)}
        if scheduler is not None:
            runs["theirs"] = theirs(scheduler, x, output)
        timed = race(runs)
        mine, other = timed["ours"], timed.get("theirs")
        ratio = mine / other if other else None
        rows.append((name, mine, other, ratio, timed.get("drop-in"), type(scheduler).__name__ if scheduler else "none"))
    return Table(
        f"Host microseconds a call of the network (torch {torch.__version__}, diffusers {diffusers.__version__})",
        ("solver", "ours", "theirs", "ratio", "drop-in", "class"),
        rows,
        f"The best of {ROUNDS} runs of {STEPS} steps, taken in turn. Drop-in: ours, as a scheduler of a pipeline.",
    )


def _fitted() -> Table:
    x, output = states()
    f, levels = plain_run(output)
    rows = []
    for name, solver, plain in fitted(levels, x):
        timed = race({"tuned": ours(f, solver, x, levels), "plain": ours(f, SOLVERS[plain](), x, levels)})
        rows.append((name, timed["tuned"], timed["plain"], timed["tuned"] - timed["plain"], plain))
    return Table(
        "Host microseconds a call of tuned solvers, with made-up numbers",
        ("solver", "tuned", "plain", "more", "around"),
        rows,
    )


def states() -> tuple[Tensor, Tensor]:
    """A start, and what the network says."""
    x, output = torch.randn(2, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    return x, output


def opponents() -> list[tuple[str, SchedulerMixin | None]]:
    """Every solver of the registry, once for each class of the same method, None where there is none."""
    rows: list[tuple[str, SchedulerMixin | None]] = []
    for name in SOLVERS:
        twins = [make(**options) for mine, make, options in OPPONENTS if mine == name]
        rows += [(name, twin) for twin in twins or [None]]
    return rows


def race(runs: Mapping[str, Run]) -> dict[str, float]:
    """Microseconds a call of each. They take turns, so that a busy machine slows all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, each in runs.items():
            each.before()
            began = time.perf_counter()
            each.go()
            taken[name].append(time.perf_counter() - began)
    return {name: min(taken[name]) / each.calls * 1e6 for name, each in runs.items()}


def ours(f: Stored, solver: Solver, x: Tensor, levels: Grid) -> Run:
    counted = CountingDenoiser(f)
    integrate(counted, solver, x, levels)
    return Run(lambda: integrate(f, solver, x, levels), counted.tally.nfe)


def theirs(scheduler: SchedulerMixin, x: Tensor, output: Tensor) -> Run:
    scheduler.set_timesteps(STEPS)
    return Run(lambda: through(scheduler, x, output), len(scheduler.timesteps), lambda: scheduler.set_timesteps(STEPS))


def adapted(name: str, x: Tensor, output: Tensor) -> dict[str, Run]:
    """Our solver as a scheduler, where it fits a pipeline."""
    try:
        return {"drop-in": theirs(fastdiff_scheduler(name), x, output)}
    except UsageError:
        return {}


def through(scheduler: SchedulerMixin, x: Tensor, output: Tensor) -> None:
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        x = scheduler.step(output, t, x).prev_sample


def plain_run(output: Tensor) -> tuple[Stored, Grid]:
    """The stored network, and levels of ours."""
    table = DiscreteVP(tuple(diffusers.DDIMScheduler().alphas_cumprod.double().tolist()))
    return Stored(output, table, "eps"), grid(log_snr, table, STEPS)


def same_run(scheduler: SchedulerMixin | None, output: Tensor) -> tuple[Stored, Grid]:
    """The stored network, and the levels that the scheduler visits."""
    if scheduler is None or isinstance(scheduler, diffusers.IPNDMScheduler):  # whose own levels take as long
        return plain_run(output)
    scheduler.set_timesteps(STEPS)
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler) or scheduler.config.get("use_flow_sigmas"):
        flow = Flow()
        return Stored(output, flow, "flow"), tuple(flow.level(float(sigma)) for sigma in scheduler.sigmas)
    table = DiscreteVP(tuple(scheduler.alphas_cumprod.double().tolist()))
    if not hasattr(scheduler, "sigmas"):
        return Stored(output, table, "eps"), grid(trailing, table, STEPS, clean=True)
    sigmas = dict.fromkeys(scheduler.sigmas.tolist())  # Heun's class lists them twice
    return Stored(output, table, "eps"), tuple(from_edm_sigma(table, sigma) for sigma in sigmas)
