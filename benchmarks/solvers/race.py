"""One network, all solvers: each chooses its way on samples for fitting, and is measured on others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.solvers import field
from benchmarks.solvers.course import Course, course
from benchmarks.solvers.field import BASELINES, Entrant
from benchmarks.solvers.tuned import NAMES, tuner
from fastdiff.apps.tuning.measure import Batch
from fastdiff.models.sampling_problem import SamplingProblem

SEEDS = 32  # held out
CALLS = (4, 5, 6, 8, 10, 12, 16, 20)
FEW_CALLS = 10  # up to which ways are chosen and solvers tuned where a call is dear
ROWS = 8  # of a held-out batch
CONTENDERS = 3  # beside the baselines and the tuned solvers, measured on all seeds where a call is dear
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much of it: `rows` samples choose ways, `batches` times as many are fitted to. DPM-Solver++(2M) and UniPC try
    all grids, all others the `grids` best ones of those.

    Where a call is `dear`, tuned solvers take part up to FEW_CALLS, more calls go the way that was chosen for those,
    and solvers that were not among the best on the samples for fitting are measured on the first ROWS seeds alone, with
    more calls all but DPM-Solver++(2M) and UniPC.
    """

    rows: int
    batches: int
    grids: int
    dear: bool
    seeds: int = SEEDS
    calls: Sequence[int] = CALLS


def race(subject: SamplingProblem, plan: Plan) -> list[Row]:
    """On the subject's samples, against runs of 200 calls."""
    count = plan.rows * plan.batches
    few = list(subject.batches(count, rows=plan.rows))
    others = list(subject.batches(count, first=count, rows=plan.rows))
    held = list(subject.batches(plan.seeds, held=True, rows=ROWS))
    return list(rows(course(few), others, course(held), plan))


@torch.no_grad()
def rows(few: Course, others: Sequence[Batch], held: Course, plan: Plan) -> Iterator[Row]:
    """A row for every solver and number of calls that it runs in.

    On `few` ways are chosen and solvers tuned, with statistics taken on `others`; all are measured on `held`.
    """
    schedule = few.batches[0][0].schedule
    own, theirs, tuning = field.ours(schedule), field.diffusers(schedule), tuner(few, others)
    chosen: list[Entrant] = []
    for calls in plan.calls:
        many = plan.dear and calls > FEW_CALLS
        if not (many and chosen):
            chosen, placed = own.chosen(few, calls, plan.grids)
            if theirs is not None:
                chosen += theirs.chosen(few, calls, plan.grids)[0]
        entrants = chosen if many else chosen + tuning.entrants(calls, placed)
        best = set() if many else {each.name for each in sorted(entrants, key=lambda each: each.fitted)[:CONTENDERS]}
        for entrant in entrants:
            whole = not plan.dear or entrant.name in {*BASELINES, *NAMES} | best
            errors = held.errors(entrant.way, calls, batches=None if whole else 1)
            if errors is not None:
                yield row(entrant, calls, errors)


def row(entrant: Entrant, calls: int, errors: Tensor) -> Row:
    told = {"solver": entrant.name, "calls": calls, "way": str(entrant.way)}
    return told | {"mean": errors.mean().item(), "errors": errors.tolist()}
