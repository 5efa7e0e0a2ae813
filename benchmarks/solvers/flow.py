"""Solvers on the grids of flow models: the grid of a folder, downwards, and the grid of edit, upwards.

Closed forms are compared with their exact flow; tiny models of the real classes, whose weights are random, with runs of
many steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.result import Section, Table
from benchmarks.solvers import mixtures
from benchmarks.tiny_models import tiny
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.models.scheduler_config import TrainedScheduler, scheduler_from_config
from fastdiff.solvers.closed_form import Gaussian, Mixture
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid, time_part, time_to_clean
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.rows import row_norms
from fastdiff.solvers.schedule import CLEAN_LEVEL
from fastdiff.solvers.uneven_grids import step_growth, warning_of

NAMES = ("euler", "flow-dpm", "dpmpp-2m", "unipc", "deis")
SHIFTS = (1.0, 3.0, 6.0)
CALLS = (6, 10, 20)
SEEDS, TINY_SEEDS = 8, 2
STRENGTH = 0.85  # of edits with the preset `ledits`
MANY = 200  # steps of a run that stands for the exact flow
SIDE = 4  # tokens of a side of pictures of tiny models
NARROW = 0.04  # variance
NOTE = (
    "Mean relative distance to the exact end at {} calls. * marks runs that warn. Growth: how many times as long a "
    "step is as the one before it in log SNR, at most; longest: the longest step there, in the run of {} calls."
)


@dataclass(frozen=True)
class Family:
    """A family of flow models, by the scheduler of its folders."""

    scheduler: Callable[[float], TrainedScheduler]  # of a shift
    write: Callable[[Path, float], Path]  # a tiny folder with a shift


@dataclass(frozen=True)
class Case:
    """Runs of a denoiser from `x` (B, ...) over grids of a number of calls, and their exact end (B, ...)."""

    f: Denoiser
    x: Tensor
    exact: Tensor
    levels: Callable[[int], Grid]


def run(calls: Sequence[int], limit: int | None) -> Section:
    """Measure at CALLS calls, whatever `calls` of other sections are."""
    seeds = SEEDS if limit is None else min(limit, SEEDS)
    pages = [row for family in FAMILIES for shift in SHIFTS for row in _rows(family, shift, seeds)]
    tables = [table for title in DIRECTIONS for table in _tables(title, [row for row in pages if row["run"] == title])]
    return Section(tables, pages)


@torch.no_grad()
def _rows(family: str, shift: float, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every direction, problem and solver on the grid of a family with this shift."""
    trained = FAMILIES[family].scheduler(shift)
    forms: dict[str, Denoiser] = {
        "Gaussian": Gaussian(trained.schedule),
        "narrow Gaussian": Gaussian(trained.schedule, 0.0, NARROW),
        "mixture": Mixture(trained.schedule),
    }
    problems = {name: (f, trained, *_closed(f, seeds)) for name, f in forms.items()}
    with TemporaryDirectory() as folder:
        problems["tiny model"] = _tiny(FAMILIES[family].write(Path(folder) / "model", shift), min(seeds, TINY_SEEDS))
    for direction, make in DIRECTIONS.items():
        for problem, given in problems.items():
            case = make(*given)
            for name in NAMES:
                ends = {calls: integrate(case.f, SOLVERS[name](), case.x, case.levels(calls)).x for calls in CALLS}
                yield {
                    "run": direction,
                    "family": family,
                    "shift": shift,
                    "growth": step_growth(case.levels(CALLS[-1])),
                    "longest": max(abs(u.lam - t.lam) for t, u in pairwise(case.levels(CALLS[-1])[:-1])),
                    "problem": problem,
                    "solver": name,
                    "errors": {calls: _distance(end, case.exact) for calls, end in ends.items()},
                    "warns": [calls for calls in CALLS if warning_of(SOLVERS[name](), case.levels(calls))],
                }


def _sampling(f: Denoiser, trained: TrainedScheduler, noise: Tensor, data: Tensor) -> Case:
    """Sampling on the grid of the folder, from pure noise to no noise."""
    start = trained.grid(MANY)[0]
    x = start.sigma * noise
    if isinstance(f, Gaussian):
        exact = f.carry(x, start, CLEAN_LEVEL)
    elif isinstance(f, Mixture):
        exact = mixtures.end(x, f)
    else:
        exact = integrate(f, SOLVERS["deis"](), x, trained.grid(MANY)).x
    return Case(f, x, exact, trained.grid)


def _inversion(f: Denoiser, trained: TrainedScheduler, noise: Tensor, data: Tensor) -> Case:
    """Inversion on the grid of edit, from data to the noise of STRENGTH."""

    def levels(calls: int) -> Grid:
        return time_part(trained.schedule, STRENGTH, calls)[::-1]

    if isinstance(f, Gaussian):
        exact = f.carry(data, levels(1)[0], levels(1)[-1])
    else:
        exact = integrate(f, SOLVERS["deis"](), data, levels(MANY)).x
    return Case(f, data, exact, levels)


def _closed(f: Denoiser, seeds: int) -> tuple[Tensor, Tensor]:
    """Return noise and data (seeds, ...) of a problem in closed form."""
    like = torch.empty(seeds, *mixtures.SHAPE, dtype=torch.float64)
    noise, again = (Noise(seed, tuple(range(seeds)))(like) for seed in (0, 1))
    if isinstance(f, Gaussian):
        return noise, f.mean + f.variance**0.5 * again
    assert isinstance(f, Mixture)
    return noise, mixtures.end(again, f)  # of the flow from other noise


def _tiny(folder: Path, seeds: int) -> tuple[Denoiser, TrainedScheduler, Tensor, Tensor]:
    """Return the denoiser of a folder with its scheduler, noise and the latents of random pictures."""
    model = load_editable(str(folder))
    side = SIDE * model.size_multiple
    pictures = torch.rand(seeds, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents, prompts = model.encode(pictures), model.encode_prompts(["a fox"] * seeds)
    f, noise = guided_denoiser(model, prompts, 1.0, (side, side)), Noise(0, tuple(range(seeds)))(latents)
    return f, model.scheduler((side, side)), noise, latents


def _distance(end: Tensor, exact: Tensor) -> float:
    return float((row_norms(end - exact) / row_norms(exact)).mean())


def _tables(title: str, rows: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Yield a table for every problem, with a line for every grid."""
    columns = ("grid, shift", *NAMES, "growth" if title == "sampling" else "longest")
    for problem in dict.fromkeys(row["problem"] for row in rows):
        mine = [row for row in rows if row["problem"] == problem]
        lines = []
        for grid in dict.fromkeys((row["family"], row["shift"]) for row in mine):
            each = {row["solver"]: row for row in mine if (row["family"], row["shift"]) == grid}
            lines.append(
                (f"{grid[0]}, {grid[1]:g}", *(_cell(each[name]) for name in NAMES), each[NAMES[0]][columns[-1]])
            )
        yield Table(f"Flow, {title}, {problem}", columns, lines, NOTE.format(" / ".join(map(str, CALLS)), CALLS[-1]))


def _cell(row: dict[str, Any]) -> str:
    return " / ".join(f"{error:#.2g}{'*' if calls in row['warns'] else ''}" for calls, error in row["errors"].items())


def _flow_matching(shift: float) -> TrainedScheduler:
    return scheduler_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift})


def _flow_dpm(shift: float) -> TrainedScheduler:
    settings = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    return scheduler_from_config({"_class_name": "DPMSolverMultistepScheduler", **settings})


def _flux(shift: float) -> TrainedScheduler:
    """Return what the pipeline of FLUX.1 makes of a constant shift: it places the times itself."""
    return replace(_flow_matching(shift), spacing=time_to_clean)


FAMILIES = {
    "SD3": Family(_flow_matching, lambda path, shift: tiny("sd3").write(path, shift={"shift": shift})),
    "Sana": Family(_flow_dpm, lambda path, shift: tiny("sana").write(path, scheduler=_of_sana(shift))),
    "FLUX": Family(_flux, lambda path, shift: tiny("flux").write(path, shift={"shift": shift})),
}


DIRECTIONS: dict[str, Callable[[Denoiser, TrainedScheduler, Tensor, Tensor], Case]] = {
    "sampling": _sampling,
    "inversion": _inversion,
}


def _of_sana(shift: float) -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction")
