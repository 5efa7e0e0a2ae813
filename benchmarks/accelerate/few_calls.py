"""Pictures from captions in few calls: distilled backbones, plain solvers and tuned ones, against a long run."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accelerate.emoji_measure import EmojiMeasure
from benchmarks.accelerate.fitted import fitted
from benchmarks.accelerate.text_to_image import Sampler, WithGuidance, guided_sampler, speedup_sampler
from benchmarks.bootstrap import paired_difference
from benchmarks.edit.cases import as_picture, judge
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.apps.edit.distilled import bundled_loras
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.models.registry import load_editable
from fastdiff.models.sampling_problem import load_sampling_problem
from fastdiff.solvers.grids import grid
from fastdiff.solvers.lcm import LCM, consistency_points
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Scene, draw

MODEL, GUIDANCE = "scenes", 4.0  # which the distillations stand for
CAPTIONS, BATCH, SHOWN = 100, 20, 24
SEED = 7_000_003  # of scenes
LONG, CALLS = ("dpmpp-2m", 25), 4
RIVALS, TUNED = ("dpmpp-2m", "unipc"), ("v3", "teleport-iia")
LCM_CALLS = (1, 2, 4, 8)
MEASURES = ("shape", "edges", "concept", "seconds")
COLUMNS = ("", "rows", "shape", "against the long run", *MEASURES[1:])
NOTE = (
    f"Guidance {GUIDANCE:g}, but for the distilled models, which take one row of the network in place of two. Shape in "
    "dB with its difference to the long run and the 95 % interval, paired by caption; edges in [-1, 1]; the share of "
    "pictures whose concept the judge reads; seconds a picture, with its decoding."
)


@torch.inference_mode()
def run(limit: int | None) -> Section:
    rng, measure = np.random.default_rng(SEED), EmojiMeasure(judge(), ShapeMeasure(Renderer()))
    scenes = [draw(rng) for _ in range(CAPTIONS if limit is None else min(CAPTIONS, limit))]
    compared = list(samplers())
    pages: list[dict[str, Any]] = []
    strips: list[Strip] = []
    for first in range(0, len(scenes), BATCH):
        mine = scenes[first : first + BATCH]
        captions, concepts = [scene.caption for scene in mine], [scene.concept for scene in mine]
        numbers = tuple(range(first, first + len(mine)))
        columns = []
        for sampler in compared:
            began = time.perf_counter()
            columns.append(sampler(captions, numbers))
            seconds = (time.perf_counter() - began) / len(mine)
            for caption, page in zip(captions, measure(concepts, columns[-1]), strict=True):
                pages.append({"sampler": sampler.name, "seconds": seconds, "caption": caption} | page)
        strips += _strips(mine, columns)
    rows = [_row(sampler, pages, compared[0]) for sampler in compared]
    return Section([Table("Pictures in few calls", COLUMNS, rows, NOTE)], pages, strips[:SHOWN])


def samplers() -> Iterator[Sampler]:
    """Yield the long run, solvers in as many calls as the distilled models, and these models."""
    model = load_editable(MODEL)
    schedule = model.trained.schedule
    for name, calls in (LONG, *((rival, CALLS) for rival in RIVALS)):
        yield guided_sampler(model, GUIDANCE, name, calls)
    problem = load_sampling_problem(MODEL, guidance=GUIDANCE)
    for name in TUNED:
        solver, levels, _ = fitted(problem, name, (CALLS,))[CALLS]
        yield Sampler(f"{name}, {CALLS} calls", WithGuidance(model, GUIDANCE), solver, levels)
    yield speedup_sampler(model)
    distilled = WithGuidance(load_editable(MODEL, loras=bundled_loras(MODEL, PRESETS["lcm"])), 1.0)
    for calls in LCM_CALLS:
        yield Sampler(f"lcm, {calls} calls", distilled, LCM(), grid(consistency_points, schedule, calls, clean=True))


def _row(sampler: Sampler, pages: Sequence[dict[str, Any]], long: Sampler) -> tuple[Any, ...]:
    mine, longest = ([page for page in pages if page["sampler"] == each.name] for each in (sampler, long))
    before, after = (np.array([page["shape"] for page in each]) for each in (longest, mine))
    gap = "" if sampler is long else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(before, after))
    first, *others = (mean(mine, measure) for measure in MEASURES)
    return sampler.name, sampler.rows, first, gap, *others


def _strips(scenes: Sequence[Scene], columns: Sequence[Tensor]) -> Iterator[Strip]:
    for scene, *pictures in zip(scenes, *columns, strict=True):
        yield Strip(scene.caption, 0, tuple(as_picture(picture[None]) for picture in pictures))
