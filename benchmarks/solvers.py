"""What a solver buys and what it costs: error against network calls, and host time a call beside diffusers.

    python benchmarks/solvers.py [--json PATH]

Errors are distances to the exact flow of closed-form problems. Host time is what a solver spends around the network:
the network is a stored tensor, the state 1 x 4 x 64 x 64 in float32, one thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from fastdiff.solvers.denoiser import Counted, Denoiser
from fastdiff.solvers.estimate import FROM, Estimate, Prediction
from fastdiff.solvers.grid import SPACINGS, Grid, grid, trailing
from fastdiff.solvers.integrate import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import DiscreteVP, Flow, Level, LinearVP, Schedule, from_kappa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from problems import MIXTURE_END, MIXTURE_START, Gaussian, Mixture

CALLS = (4, 6, 10, 20, 40, 80)
STEPS = 50
ROUNDS = 40


@dataclass(frozen=True)
class Error:
    """Distance to the exact end of the flow."""

    problem: str
    spacing: str
    solver: str
    calls: int
    error: float


@dataclass(frozen=True)
class HostTime:
    """Microseconds around one network call, the best of many rounds of one run each, taken in turn."""

    solver: str
    theirs: str
    ours_us: float
    theirs_us: float


@dataclass(frozen=True)
class Stored:
    """A network that costs nothing."""

    output: Tensor
    schedule: Schedule
    predicts: Prediction

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return FROM[self.predicts](self.output, x, level)

    def fresh(self) -> "Stored":
        return self


def measure_errors() -> list[Error]:
    mixture = Mixture(LinearVP())
    flow = Gaussian(Flow(shift=3.0))
    flow_start = torch.tensor([0.7], dtype=torch.float64)
    top, bottom = (flow.schedule.level(t) for t in (flow.schedule.start, flow.schedule.end))
    problems = [
        ("mixture, linear VP", mixture, torch.tensor([MIXTURE_START], dtype=torch.float64), MIXTURE_END),
        ("Gaussian, flow shift 3", flow, flow_start, flow.carry(flow_start, top, bottom).item()),
    ]
    deterministic = {name: make for name, make in SOLVERS.items() if not make().stochastic}
    return [
        Error(problem, spacing, name, calls, abs(_end(f, name, x, spacing, calls) - exact))
        for problem, f, x, exact in problems
        for spacing in ("log-snr", "time-uniform", "karras")
        for name in deterministic
        for calls in CALLS
    ]


def _end(f: Denoiser, name: str, x: Tensor, spacing: str, calls: int) -> float:
    solver = SOLVERS[name]()
    return integrate(f, solver, x, grid(SPACINGS[spacing], f.schedule, calls // solver.evals)).x.item()


def measure_host_times() -> list[HostTime]:
    generator = torch.Generator().manual_seed(0)
    x, output = torch.randn(2, 1, 4, 64, 64, generator=generator)
    return [
        HostTime(name, type(scheduler).__name__, *_race(name, scheduler, x, output)) for name, scheduler in _opponents()
    ]


def _opponents() -> list[tuple[str, SchedulerMixin]]:
    """Our solver's name and an instance of diffusers' class of the same method."""
    multistep = diffusers.DPMSolverMultistepScheduler
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    rows = [
        ("ddim", diffusers.DDIMScheduler, {"clip_sample": False}),
        ("euler", diffusers.EulerDiscreteScheduler, {}),
        ("euler", diffusers.FlowMatchEulerDiscreteScheduler, {}),
        ("heun", diffusers.HeunDiscreteScheduler, {}),
        ("dpmpp-2s", diffusers.DPMSolverSinglestepScheduler, {"lower_order_final": True}),
        ("dpmpp-2m", multistep, {"solver_order": 2}),
        ("dpmpp-3m", multistep, {"solver_order": 3}),
        ("dpm-2m", multistep, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
        ("sde-dpmpp-1", multistep, {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}),
        ("sde-dpmpp-2m", multistep, {"algorithm_type": "sde-dpmsolver++"}),
        ("euler-ancestral", diffusers.EulerAncestralDiscreteScheduler, {}),
        ("unipc", diffusers.UniPCMultistepScheduler, {"solver_order": 2}),
        ("flow-dpm", multistep, flow),
    ]
    return [(name, kind(**options)) for name, kind, options in rows]


def _race(name: str, scheduler: SchedulerMixin, x: Tensor, output: Tensor) -> tuple[float, float]:
    """Microseconds a call, ours and theirs. They take turns, so that a busy machine slows both alike."""
    scheduler.set_timesteps(STEPS)
    f, levels = _same_run(scheduler, output)
    solver, counted = SOLVERS[name](), Counted(f)
    integrate(counted, solver, x, levels)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: integrate(f, solver, x, levels)))
        scheduler.set_timesteps(STEPS)
        theirs.append(_seconds(lambda: _run(scheduler, x, output)))
    return min(ours) / counted.tally.calls * 1e6, min(theirs) / len(scheduler.timesteps) * 1e6


def _same_run(scheduler: SchedulerMixin, output: Tensor) -> tuple[Stored, Grid]:
    """The stored network and the levels that the scheduler visits."""
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler) or scheduler.config.get("use_flow_sigmas"):
        flow = Flow()
        return Stored(output, flow, "flow"), tuple(flow.level(float(sigma)) for sigma in scheduler.sigmas)
    table = DiscreteVP(tuple(scheduler.alphas_cumprod.double().tolist()))
    if not hasattr(scheduler, "sigmas"):
        return Stored(output, table, "eps"), grid(trailing, table, STEPS, clean=True)
    sigmas = dict.fromkeys(scheduler.sigmas.tolist())  # Heun's class lists them twice
    return Stored(output, table, "eps"), tuple(from_kappa(table, sigma) for sigma in sigmas)


def _run(scheduler: SchedulerMixin, x: Tensor, output: Tensor) -> None:
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        x = scheduler.step(output, t, x).prev_sample


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        errors, times = measure_errors(), measure_host_times()
    print_errors(errors)
    print_times(times)
    if arguments.json:
        numbers = {"errors": [asdict(row) for row in errors], "host_times": [asdict(row) for row in times]}
        arguments.json.write_text(json.dumps(numbers, indent=1))


def print_errors(errors: list[Error]) -> None:
    for problem, spacing in dict.fromkeys((row.problem, row.spacing) for row in errors):
        rows = [row for row in errors if (row.problem, row.spacing) == (problem, spacing)]
        print(f"\nError against calls: {problem}, {spacing} levels")
        print(f"{'solver':<12}" + "".join(f"{calls:>10}" for calls in CALLS))
        for name in dict.fromkeys(row.solver for row in rows):
            print(f"{name:<12}" + "".join(f"{row.error:>10.1e}" for row in rows if row.solver == name))


def print_times(times: list[HostTime]) -> None:
    print(f"\nHost microseconds a network call (torch {torch.__version__}, diffusers {diffusers.__version__})")
    print(f"{'solver':<17}{'ours':>8}{'theirs':>9}{'ratio':>8}  class")
    for row in times:
        ratio = row.ours_us / row.theirs_us
        print(f"{row.solver:<17}{row.ours_us:>8.1f}{row.theirs_us:>9.1f}{ratio:>8.2f}  {row.theirs}")


if __name__ == "__main__":
    main()
