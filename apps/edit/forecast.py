"""Estimates the cost of edits before a model is loaded."""

from dataclasses import dataclass

from fastdiff.apps.edit.presets import steps_of
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion.edit_friendly import ROWS, EditFriendly
from fastdiff.inversion.registry import INVERTERS
from fastdiff.models.catalogue import describe, find
from fastdiff.solvers.registry import SOLVERS

SEARCHING = {"backward-euler": 8, "fixed-point": 8}  # measured calls per step; the other inverters take one
RATE = 1e11  # multiplications and additions a second in such networks, on two cores of a server processor


@dataclass(frozen=True)
class Cost:
    """The cost of one edit."""

    calls: int  # of the network, each on all rows at once
    rows: int  # in all calls together


def cost(settings: EditSettings, *, masked: bool = False) -> Cost:
    """The cost of one edit, within a mask or without one.

    The calls are exact but for inversions that search, and those of solvers without a call in some step.
    """
    preset = settings.preset
    steps = steps_of(preset, preview=settings.preview)
    guided = 1 if preset.source_guidance == 1 else 2
    solver = SOLVERS[preset.solver]() if preset.solver else None
    at_once = solver.stochastic if solver else isinstance(INVERTERS[preset.inversion](), EditFriendly)
    nfe_per_step = solver.nfe_per_step if solver else 1
    inverting = steps * (nfe_per_step if solver else SEARCHING.get(preset.inversion, 1))
    asks = (
        preset.cross_attention,
        preset.self_attention,
        preset.focus,
        masked,
        settings.blend,
        settings.emphasize,
        settings.release,
    )
    rows = (2 if any(asks) else 1) * (1 if preset.source_guidance == preset.guidance == 1 else 2)
    sampling, inverted_in = steps * nfe_per_step, -(-steps // ROWS) if at_once else inverting
    return Cost(inverted_in + sampling, inverting * guided + sampling * rows)


def seconds(model: str, rows: int) -> float | None:
    """Estimate the seconds for `rows` rows through a model's network on a CPU; None if its files do not tell its size.

    Raises UsageError and MissingError as `find` and `describe` do.
    """
    description = describe(find(model))
    return (
        None
        if description.tokens is None
        else 2 * rows * description.tokens * description.networks["transformer"].numbers / RATE
    )
