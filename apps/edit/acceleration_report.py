"""Measures what an acceleration saved in an edit, and what it changed."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from fastdiff.apps.edit.acceleration import Unaccelerated
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.sampling import AcceleratedInversion, Edit, Sampled
from fastdiff.apps.similarity import distance, psnr
from fastdiff.inversion.inversion import Inversion
from fastdiff.solvers.readback import read_back


def seconds_since(began: float, result: Tensor) -> float:
    """Return the seconds from `time.monotonic()` at the beginning until the device has the result."""
    read_back(result.sum())
    return time.monotonic() - began


def measured(
    choice: AccelerationChoice,
    edit: Edit,
    inversion: Inversion,
    sampled: Sampled,
    seconds: float,
    decode: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Return what inversion and sampling cost together and, to verify, their cost without acceleration.

    `inversion` says whether the inversion was accelerated too. `calls` are network calls one after another,
    `equivalent_calls` calls without acceleration that cost as much. The unaccelerated edit gives `plain_calls` and
    `plain_seconds`, `distance` of latents, relative to their norm, and `psnr` of the pictures that `decode` makes of
    latents, dB.
    """
    accelerated = isinstance(inversion, AcceleratedInversion)
    inverting = inversion.equivalent_calls if isinstance(inversion, AcceleratedInversion) else inversion.nfe
    measures: dict[str, Any] = {
        "name": choice.file.name if choice.file else choice.name or "parallel",
        "parallel": choice.parallel,
        "budget": choice.aim if choice.name and not choice.file else None,
        "inversion": accelerated,
        "calls": inversion.nfe + sampled.calls,
        "equivalent_calls": round(inverting + sampled.equivalent_calls, 3),
        "seconds": round(seconds, 3),
    }
    if not choice.verify:
        return measures
    began = time.monotonic()
    plain = replace(edit, acceleration=Unaccelerated())
    path = plain.invert()
    again = plain.sample(path, lambda now: None)
    plain_seconds = seconds_since(began, again.latents)
    pictures = [decode(each.latents).clamp(-1, 1) for each in (sampled, again)]
    return measures | {
        "plain_calls": path.nfe + again.calls,
        "plain_seconds": round(plain_seconds, 3),
        "distance": distance(sampled.latents, again.latents),
        "psnr": psnr(*pictures),
    }
