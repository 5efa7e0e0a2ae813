"""Host time of a solver per network evaluation, against diffusers, and as a scheduler in one of its pipelines.

The network returns a stored tensor; the state is 1 x 4 x 64 x 64 in float32; one thread runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import diffusers
import torch
from torch import Tensor

from benchmarks.result import Section, Table
from benchmarks.solvers.diffusers_classes import DIFFUSERS_CLASSES, tuned_solvers
from benchmarks.solvers.diffusers_samplers import Scheduler
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
    """A network that returns a stored output."""

    output: Tensor
    schedule: Schedule
    predicts: Prediction

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return FROM[self.predicts](self.output, x, level)

    def fresh(self) -> "Stored":
        return self


@dataclass(frozen=True)
class Run:
    """A run to time, with its number of network evaluations."""

    start: Callable[[], object]
    nfe: int
    prepare: Callable[[], object] = lambda: None  # not timed


def run(calls: Sequence[int], limit: int | None) -> Section:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return Section([_against_diffusers(), _tuned()])
    finally:
        torch.set_num_threads(threads)


def _against_diffusers() -> Table:
    """Time every solver of the registry, and the class of diffusers with the same method if there is one."""
    x, output = states()
    rows = []
    for name, scheduler in pairs():
        f, levels = same_run(scheduler, output)
        runs = {"ours": fastdiff_run(f, SOLVERS[name](), x, levels), **drop_in_run(name, x, output)}
        if scheduler is not None:
            runs["theirs"] = diffusers_run(scheduler, x, output)
        timed = microseconds(runs)
        mine, other = timed["ours"], timed.get("theirs")
        ratio = mine / other if other else None
        rows.append((name, mine, other, ratio, timed.get("drop-in"), type(scheduler).__name__ if scheduler else "none"))
    return Table(
        f"Host microseconds a call of the network (torch {torch.__version__}, diffusers {diffusers.__version__})",
        ("solver", "ours", "theirs", "ratio", "drop-in", "class"),
        rows,
        f"The best of {ROUNDS} runs of {STEPS} steps, taken in turn. Drop-in: ours, as a scheduler of a pipeline.",
    )


def _tuned() -> Table:
    """Time tuned solvers, with arbitrary coefficients, against their plain solvers."""
    x, output = states()
    f, levels = plain_run(output)
    rows = []
    for name, solver, plain in tuned_solvers(levels, x):
        runs = {"tuned": fastdiff_run(f, solver, x, levels), "plain": fastdiff_run(f, SOLVERS[plain](), x, levels)}
        timed = microseconds(runs)
        rows.append((name, timed["tuned"], timed["plain"], timed["tuned"] - timed["plain"], plain))
    return Table(
        "Host microseconds a call of tuned solvers, with made-up numbers",
        ("solver", "tuned", "plain", "more", "around"),
        rows,
    )


def states() -> tuple[Tensor, Tensor]:
    """Return an initial state and the stored output of the network."""
    x, output = torch.randn(2, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    return x, output


def pairs() -> list[tuple[str, Scheduler | None]]:
    """Return every solver of the registry with each class of the same method, or with None."""
    rows: list[tuple[str, Scheduler | None]] = []
    for name in SOLVERS:
        twins = [make(**options) for mine, make, options in DIFFUSERS_CLASSES if mine == name]
        rows += [(name, twin) for twin in twins or [None]]
    return rows


def microseconds(runs: Mapping[str, Run]) -> dict[str, float]:
    """Return the microseconds per evaluation of every run. Runs take turns, so that a busy machine slows all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, each in runs.items():
            each.prepare()
            began = time.perf_counter()
            each.start()
            taken[name].append(time.perf_counter() - began)
    return {name: min(taken[name]) / each.nfe * 1e6 for name, each in runs.items()}


def fastdiff_run(f: Stored, solver: Solver, x: Tensor, levels: Grid) -> Run:
    counted = CountingDenoiser(f)
    integrate(counted, solver, x, levels)
    return Run(lambda: integrate(f, solver, x, levels), counted.tally.nfe)


def diffusers_run(scheduler: Scheduler, x: Tensor, output: Tensor) -> Run:
    scheduler.set_timesteps(STEPS)
    return Run(
        lambda: run_scheduler(scheduler, x, output), len(scheduler.timesteps), lambda: scheduler.set_timesteps(STEPS)
    )


def drop_in_run(name: str, x: Tensor, output: Tensor) -> dict[str, Run]:
    """Return the run of a solver of fastdiff as a scheduler, if it fits a pipeline of diffusers."""
    try:
        return {"drop-in": diffusers_run(fastdiff_scheduler(name), x, output)}
    except UsageError:
        return {}


def run_scheduler(scheduler: Scheduler, x: Tensor, output: Tensor) -> None:
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        x = scheduler.step(output, t, x).prev_sample


def plain_run(output: Tensor) -> tuple[Stored, Grid]:
    """Return the stored network, and a grid of fastdiff."""
    table = DiscreteVP(tuple(diffusers.DDIMScheduler().alphas_cumprod.double().tolist()))
    return Stored(output, table, "eps"), grid(log_snr, table, STEPS)


def same_run(scheduler: Scheduler | None, output: Tensor) -> tuple[Stored, Grid]:
    """Return the stored network, and the levels that the scheduler visits."""
    if scheduler is None or isinstance(scheduler, diffusers.IPNDMScheduler):  # its own levels take as long
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
