"""Compares all solvers on one network: each chooses its sampler on samples for fitting and is measured on others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.solvers.participants import BASELINES, Participant, diffusers_participants, fastdiff_participants
from benchmarks.solvers.problem import Problem, make_problem
from benchmarks.solvers.tuned import NAMES, make_tuner
from fastdiff.apps.tuning.measure import Batch
from fastdiff.models.sampling_problem import SamplingProblem

SEEDS = 32  # held out
CALLS = (4, 5, 6, 8, 10, 12, 16, 20)
FEW_CALLS = 10  # up to here samplers are chosen and solvers tuned if evaluations are expensive
ROWS = 8  # of a held-out batch
CONTENDERS = 3  # solvers that are measured on all seeds beside baselines and tuned ones, if evaluations are expensive
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The extent of a comparison.

    `rows` samples choose samplers; tuned solvers are fitted to `batches` times as many. The baselines of fastdiff try
    all grids, the other solvers the `grids` best of these. If evaluations are `expensive`, tuned solvers take part up
    to FEW_CALLS, longer runs keep the samplers chosen there, solvers that were not among the best on the samples for
    fitting are measured on the first ROWS seeds alone, and with more calls than FEW_CALLS all but the baselines are.
    """

    rows: int
    batches: int
    grids: int
    expensive: bool
    seeds: int = SEEDS
    calls: Sequence[int] = CALLS


def compare(problem: SamplingProblem, plan: Plan) -> list[Row]:
    """Compare on samples of the problem, against reference runs of 200 network evaluations."""
    count = plan.rows * plan.batches
    fitting = list(problem.batches(count, rows=plan.rows))
    others = list(problem.batches(count, first=count, rows=plan.rows))
    held_out = list(problem.batches(plan.seeds, held=True, rows=ROWS))
    return list(rows(make_problem(fitting), others, make_problem(held_out), plan))


@torch.no_grad()
def rows(fitting: Problem, others: Sequence[Batch], held_out: Problem, plan: Plan) -> Iterator[Row]:
    """Yield a row for every solver and every number of evaluations that it runs in.

    Samplers are chosen and solvers tuned on `fitting`, statistics are taken on `others`, errors on `held_out`.
    """
    schedule = fitting.batches[0][0].schedule
    own, others_of_diffusers = fastdiff_participants(schedule), diffusers_participants(schedule)
    tuner = make_tuner(fitting, others)
    chosen: list[Participant] = []
    for nfe in plan.calls:
        many = plan.expensive and nfe > FEW_CALLS
        if not (many and chosen):
            chosen, grids = own.choose(fitting, nfe, plan.grids)
            if others_of_diffusers is not None:
                chosen += others_of_diffusers.choose(fitting, nfe, plan.grids)[0]
        participants = chosen if many else chosen + tuner.participants(nfe, grids)
        ranked = sorted(participants, key=lambda each: each.fit_error)
        best = set() if many else {each.name for each in ranked[:CONTENDERS]}
        for participant in participants:
            whole = not plan.expensive or participant.name in {*BASELINES, *NAMES} | best
            errors = held_out.errors(participant.sampler, nfe, batches=None if whole else 1)
            if errors is not None:
                yield row(participant, nfe, errors)


def row(participant: Participant, nfe: int, errors: Tensor) -> Row:
    """Return the record of one solver at one number of evaluations; its keys are those of stored results."""
    record = {"solver": participant.name, "calls": nfe, "way": str(participant.sampler)}
    return record | {"mean": errors.mean().item(), "errors": errors.tolist()}
