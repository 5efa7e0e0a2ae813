"""Pictures from captions in few calls: the distilled backbone, plain solvers and tuned ones, against a long run."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.bootstrap import paired_difference
from benchmarks.edit.cases import as_picture, judge
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.apps.edit.distilled import bundled_loras
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.tuning.tune import Tuning, run as tune
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.recogniser import Recogniser
from fastdiff.models.registry import load_editable
from fastdiff.models.sampling_problem import load_sampling_problem
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import Solver, integrate, is_recordable
from fastdiff.solvers.lcm import LCM, consistency_points
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.solver_file import read_solver_file
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, Scene, draw

MODEL, GUIDANCE = "scenes", 4.0  # which the distillation stands for
CAPTIONS, BATCH, SHOWN = 100, 20, 24
SEED = 7_000_003  # of scenes
LONG, CALLS = ("dpmpp-2m", 25), 4
RIVALS, TUNED = ("dpmpp-2m", "unipc"), ("v3", "teleport-iia")
DISTILLED = (1, 2, 4, 8)  # calls
NOISE_SEED, FRESH_SEED = 0, 1
MEASURES = ("shape", "edges", "concept", "seconds")
COLUMNS = ("", "rows", "shape", "against the long run", *MEASURES[1:])
NOTE = (
    f"Guidance {GUIDANCE:g}, but for the distilled model, which takes one row of the network in place of two. Shape in "
    "dB with its difference to the long run and the 95 % interval, paired by caption; edges in [-1, 1]; the share of "
    "pictures whose concept the judge reads; seconds a picture, with its decoding."
)


@dataclass(frozen=True)
class Way:
    """A way to make pictures."""

    name: str
    model: EditableModel
    guidance: float
    solver: Solver[Any]
    levels: Grid

    @property
    def rows(self) -> int:
        """Rows that the network gets for a picture."""
        return (len(self.levels) - 1) * (1 if self.guidance == 1 else 2)

    def __call__(self, captions: Sequence[str], numbers: tuple[int, ...]) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] of B captions; `numbers` identify their noise."""
        f = guided_denoiser(self.model, self.model.encode_prompts(captions), self.guidance, (SIDE, SIDE))
        x = Noise(NOISE_SEED, numbers)(self.model.encode(torch.zeros(len(captions), 3, SIDE, SIDE)))
        solver = self.solver
        if is_recordable(solver):
            solver = solver.with_noise(Noise(FRESH_SEED, numbers))
        return self.model.decode(integrate(f, solver, x, self.levels).x).clamp(-1, 1)


@dataclass(frozen=True)
class Measured:
    """Measures pictures of scenes."""

    judge: Recogniser
    shape: ShapeMeasure

    def __call__(self, scenes: Sequence[Scene], pictures: Tensor) -> Iterator[dict[str, Any]]:
        for scene, picture, reading in zip(scenes, pictures, self.judge.read(pictures), strict=True):
            shape, right = self.shape(as_picture(picture[None]), scene.concept), reading.concept == scene.concept
            yield {"caption": scene.caption, "shape": shape.psnr, "edges": shape.edges, "concept": right}


@torch.inference_mode()
def run(limit: int | None) -> Section:
    rng, measured = np.random.default_rng(SEED), Measured(judge(), ShapeMeasure(Renderer()))
    scenes = [draw(rng) for _ in range(CAPTIONS if limit is None else min(CAPTIONS, limit))]
    made = list(ways())
    pages: list[dict[str, Any]] = []
    strips: list[Strip] = []
    for first in range(0, len(scenes), BATCH):
        mine = scenes[first : first + BATCH]
        numbers = tuple(range(first, first + len(mine)))
        columns = []
        for way in made:
            began = time.perf_counter()
            columns.append(way([scene.caption for scene in mine], numbers))
            seconds = (time.perf_counter() - began) / len(mine)
            pages += [{"way": way.name, "seconds": seconds} | page for page in measured(mine, columns[-1])]
        strips += _strips(mine, columns)
    table = Table("Pictures in few calls", COLUMNS, [_row(way, pages, made[0]) for way in made], NOTE)
    return Section([table], pages, strips[:SHOWN])


def ways() -> Iterator[Way]:
    """Yield the long run, solvers in as many calls as the distilled model, and this model."""
    model = load_editable(MODEL)
    schedule = model.trained.schedule
    for name, calls in (LONG, *((rival, CALLS) for rival in RIVALS)):
        levels = grid(time_uniform, schedule, calls)
        yield Way(f"{name}, {calls} calls", model, GUIDANCE, SOLVERS[name](), levels)
    problem = load_sampling_problem(MODEL, guidance=GUIDANCE)
    with tempfile.TemporaryDirectory() as folder:
        for name in TUNED:
            path = Path(folder) / f"{name}.safetensors"
            tune(Tuning(problem, name, (CALLS,), path))
            solver, levels = read_solver_file(path).sampler(schedule, CALLS)
            yield Way(f"{name}, {CALLS} calls", model, GUIDANCE, solver, levels)
    distilled = load_editable(MODEL, loras=bundled_loras(MODEL, PRESETS["lcm"]))
    for calls in DISTILLED:
        levels = grid(consistency_points, schedule, calls, clean=True)
        yield Way(f"lcm, {calls} calls", distilled, 1.0, LCM(), levels)


def _row(way: Way, pages: Sequence[dict[str, Any]], long: Way) -> tuple[Any, ...]:
    mine, longest = ([page for page in pages if page["way"] == each.name] for each in (way, long))
    shapes = [np.array([page["shape"] for page in each]) for each in (longest, mine)]
    gap = "" if way is long else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(*shapes))
    first, *others = (mean(mine, measure) for measure in MEASURES)
    return way.name, way.rows, first, gap, *others


def _strips(scenes: Sequence[Scene], columns: Sequence[Tensor]) -> Iterator[Strip]:
    for scene, *pictures in zip(scenes, *columns, strict=True):
        yield Strip(scene.caption, 0, tuple(as_picture(picture[None]) for picture in pictures))
