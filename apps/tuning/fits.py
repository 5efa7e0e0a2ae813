"""Fits of all tuned solvers, and the approximate cost of each fit in network evaluations per sample."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps import full_run
from fastdiff.apps.tuning.measure import Batch, ends, reference_config
from fastdiff.apps.tuning.search import FEW
from fastdiff.solvers.grids import Grid, log_snr
from fastdiff.solvers.iia import IIA, HeunIIA
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.tuned import Tensors, base_solver, base_unipc, gaussian
from fastdiff.solvers.tuning import consistency, consistency_gradients, dc, dode, dode_heun, iia, teleport, v3
from fastdiff.solvers.tuning.teacher import Teacher, finer
from fastdiff.solvers.unipc import UniPC

TEACHER = 100  # calls at least
TRIALS = 20  # of a ratio in the search of DC-Solver, about
SAMPLING = 20  # evaluations for a sample whose statistics are taken
NODES = 120  # of the statistics of v3
FORWARD_MODE = 2  # evaluations that a forward-mode product costs
THROUGH = 4  # evaluations that a call costs in a run with gradients: the call, the same again, and its backward pass
TRAINING = consistency.Plan()
FULL_RUN = SamplerConfig(full_run.SOLVER, full_run.GRID)
Options = Mapping[str, Any]
SWITCHES = [  # of DPM-Solver-v3; the authors choose them by model and number of evaluations
    {"order": order, "p_pseudo": pseudo, "corrector": corrector, "c_pseudo": c_pseudo}
    for order, pseudo, (corrector, c_pseudo) in product(
        (1, 2, 3), (False, True), ((False, False), (True, False), (True, True))
    )
    if order > 1 or not pseudo
]


@dataclass(frozen=True)
class Extent:
    """The time of a training, and the file from which a stopped one resumes."""

    minutes: float = inf  # at most, over all runs
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Fit:
    """The fit of one tuned solver.

    `variants` returns the option sets to try for a number of evaluations, from the options of the base; the best one
    wins. `once` makes tensors for all numbers of evaluations, given the grids of these, from samples of its own: a
    Gaussian leads the samples that it was fitted to to ends that no other sample has. `trained` says that `once` is a
    training, to which its extent applies. `each` makes the tensors of one
    variant on its grid, given the former and the teacher on this grid. If `scouted`, the function `scouted` chooses
    grid and options. `previews` says that the solver is fitted to the full run, measured against it, and on its grid.
    """

    cost: Callable[[int], float]  # of fitting and trying all variants, in calls a sample
    once_cost: Callable[[int, Sequence[int]], float] = lambda samples, nfe: 0.0  # in rows
    once: Callable[[Sequence[Batch], Sequence[Grid], Extent], Tensors] = lambda batches, grids, extent: {}
    trained: bool = False
    each: Callable[[Sequence[Batch], Grid, Options, Tensors, Teacher], Tensors] = lambda *known: {}
    variants: Callable[[int, Options], Sequence[Options]] = lambda nfe, options: [options]
    scouted: bool = False
    previews: bool = False


def scouted(
    grids: Iterable[str], nfe: int, options: Options, error: Callable[[SamplerConfig], float]
) -> tuple[str, Options]:
    """Return the grid and options with which teleportation alone has the least error.

    First chooses the grid, with half as many skipped steps as evaluations; then the number of skipped steps on it.
    `options` are those of the base; `error` is inf for a configuration that does not fit.
    """

    def found(grid: str, skip: int) -> float:
        return error(SamplerConfig("teleport", grid, {**options, "skip": skip}))

    grid = min(grids, key=lambda each: found(each, max(nfe // 2, 1)))
    skip = min(range(1, max(nfe, 2)), key=lambda each: found(grid, each))
    return grid, {**options, "skip": skip}


def finest(levels: Grid) -> Teacher:
    """Return the teacher on a grid: the solver of the reference on a refinement of this grid."""
    return finer(levels, UniPC(3), ceil(TEACHER / (len(levels) - 1)))


def _dc(batches: Sequence[Batch], levels: Grid, options: Options, once: Tensors, teacher: Teacher) -> Tensors:
    return dc.fit(batches, levels, teacher, base_unipc(**options)).tensors()


def _dode(batches: Sequence[Batch], levels: Grid, options: Options, once: Tensors, teacher: Teacher) -> Tensors:
    if options["base"] == "heun":
        return dode_heun.fit(batches, levels, teacher).tensors()
    return dode.fit(batches, levels, teacher, base_solver(**options)).tensors()


def _iia(batches: Sequence[Batch], levels: Grid, options: Options, once: Tensors, teacher: Teacher) -> Tensors:
    kind = HeunIIA if options["base"] == "heun" else IIA
    return iia.fit(kind, batches, levels, base_solver(**options), teacher=teacher).tensors()


def _teleported_iia(
    batches: Sequence[Batch], levels: Grid, options: Options, once: Tensors, teacher: Teacher
) -> Tensors:
    """Fit the steps after teleportation to a run without teleportation."""
    teleport, skip = gaussian(once), options["skip"]
    carried = [(f, teleport.carry(x, levels[0], levels[skip])) for f, x in batches]
    whole = {id(y): x for (_, y), (_, x) in zip(carried, batches, strict=True)}
    rest = {name: value for name, value in options.items() if name != "skip"}
    return _iia(carried, levels[skip:], rest, once, lambda f, y: teacher(f, whole[id(y)])[skip:])


def _samples(batches: Sequence[Batch]) -> list[Tensor]:
    """Return clean data (B, ...) of every batch, sampled by the network."""
    schedule = batches[0][0].schedule
    config = reference_config(schedule)
    return ends(batches, config.make(), config.levels(schedule, SAMPLING))


@torch.no_grad()
def _statistics(batches: Sequence[Batch], grids: Sequence[Grid], extent: Extent) -> Tensors:
    pairs = [(f, clean) for (f, _), clean in zip(batches, _samples(batches), strict=True)]
    made = v3.fit(pairs, log_snr(batches[0][0].schedule, NODES + 1), pooled=True)
    return {
        "lam": made.lam,
        "linear": made.linear.float(),
        "slope": made.slope.float(),
        "offset": made.offset.float(),
    }


def _sampling_cost(samples: int, nfe: Sequence[int]) -> float:
    return float(samples * SAMPLING)


def _gaussian(batches: Sequence[Batch], grids: Sequence[Grid], extent: Extent) -> Tensors:
    made = teleport.fit(_samples(batches))
    return {"mean": made.mean.float(), "basis": made.basis.float(), "eigenvalues": made.eigenvalues.float()}


def full_runs(batches: Sequence[Batch]) -> list[Tensor]:
    """Return the ends (B, ...) of the run that previews stand for."""
    return ends(batches, FULL_RUN.make(), FULL_RUN.levels(batches[0][0].schedule, full_run.STEPS))


@torch.enable_grad()
def _policy(batches: Sequence[Batch], grids: Sequence[Grid], extent: Extent) -> Tensors:
    plan = replace(TRAINING, minutes=extent.minutes)
    policy = consistency.train(batches, full_runs(batches), grids, plan, checkpoint=extent.checkpoint)
    return policy.state_dict()


@torch.enable_grad()
def _consistency_table(
    batches: Sequence[Batch], levels: Grid, options: Options, once: Tensors, teacher: Teacher
) -> Tensors:
    return consistency_gradients.fit(batches, full_runs(batches), levels).tensors()


def _policy_cost(samples: int, nfe: Sequence[int]) -> float:
    rollouts = TRAINING.iterations * TRAINING.copies * FEW
    return full_run.STEPS * samples + rollouts * sum(nfe) / len(nfe)


FITS = {
    "dc": Fit(lambda nfe: TEACHER + nfe + TRIALS * max(nfe - 3, 0), each=_dc),
    "dode": Fit(lambda nfe: TEACHER + nfe, each=_dode),
    "iia": Fit(lambda nfe: TEACHER + nfe, each=_iia),
    "v3": Fit(
        lambda nfe: len(SWITCHES) * nfe,
        lambda samples, nfe: samples * (SAMPLING + NODES * (3 + FORWARD_MODE)),
        once=_statistics,
        variants=lambda nfe, options: SWITCHES,
    ),
    "teleport": Fit(lambda nfe: nfe, _sampling_cost, once=_gaussian, scouted=True),
    "teleport-iia": Fit(
        lambda nfe: TEACHER + 2 * nfe, _sampling_cost, once=_gaussian, each=_teleported_iia, scouted=True
    ),
    "consistency": Fit(lambda nfe: nfe, _policy_cost, once=_policy, trained=True, previews=True),
    "consistency-gradients": Fit(
        lambda nfe: full_run.STEPS + consistency_gradients.ROUNDS * THROUGH * nfe + nfe,
        each=_consistency_table,
        previews=True,
    ),
}
