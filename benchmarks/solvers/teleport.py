"""Teleportation: how many calls of a run need not be made, at the error of the run that makes them all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.result import Section, Table
from benchmarks.solvers import field
from benchmarks.solvers.course import Course, course
from benchmarks.solvers.networks import CROP, GUIDANCES, limited
from benchmarks.solvers.ways import Fitted
from fastdiff.models.subject import Subject, subject
from fastdiff.solvers.recipe import Recipe
from fastdiff.solvers.tuned import TUNED
from fastdiff.training.tuning.fits import FITS

SAMPLES = 32  # that the Gaussian is fitted to
CHOSEN_ON = 2  # samples, for the grid
SEEDS = 8  # held out
STEPS = (10, 20)
TOLERATED = 1.05  # times the error of the plain run
BASE = "dpmpp-2m"


def run(calls: Sequence[int], limit: int | None) -> Section:
    subjects = {f"scenes, guidance {each:g}": subject("scenes", guidance=each) for each in GUIDANCES}
    subjects["docclean"] = subject("docclean", size=CROP)
    seeds = min(SEEDS, limited(limit))
    rows = [(title, *row) for title, model in subjects.items() for row in skips(model, seeds)]
    table = Table(
        f"Teleportation before {BASE}: the most calls skipped with an error of at most {TOLERATED} of the plain one",
        ("model", "steps", "grid", "plain error", "skipped", "share", "error", "one more"),
        rows,
        f"{seeds} seeds held out; the Gaussian is fitted to {SAMPLES} samples of the network. "
        "One more: error with a step more skipped.",
    )
    return Section([table])


@torch.no_grad()
def skips(model: Subject, seeds: int) -> list[tuple[int, str, float, int, float, float, float]]:
    """For each number of steps: the grid on which the plain run does best, and what of it can be skipped."""
    few = course(list(model.batches(CHOSEN_ON, rows=CHOSEN_ON)))
    held = course(list(model.batches(seeds, held=True, rows=8)))
    tensors = dict(FITS["teleport"].once(list(model.batches(SAMPLES, rows=8))))
    rows = []
    for steps in STEPS:
        placed = min(field.ours(model.schedule).ways[BASE], key=lambda way: field.mean(few, way, steps)).placed
        errors = [error(held, placed, steps, 0, tensors)]
        while len(errors) < steps and errors[-1] <= TOLERATED * errors[0]:
            errors.append(error(held, placed, steps, len(errors), tensors))
        skipped = len(errors) - 2 if errors[-1] > TOLERATED * errors[0] else len(errors) - 1
        rows.append((steps, placed, errors[0], skipped, skipped / steps, errors[skipped], errors[-1]))
    return rows


def error(held: Course, placed: str, steps: int, skip: int, tensors: dict[str, Tensor]) -> float:
    """The mean error of a run of so many steps whose first are skipped."""
    way = Fitted(Recipe("teleport", placed, {**TUNED["teleport"].options, "base": BASE, "skip": skip}), tensors)
    errors = held.errors(way, steps - skip)
    return float("inf") if errors is None else errors.mean().item()
