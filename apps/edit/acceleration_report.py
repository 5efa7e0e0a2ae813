"""Measures what an acceleration saved in the sampling of an edit, and what it changed."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from fastdiff.apps.edit.acceleration import Unaccelerated, Watch
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.sampling import Edit, Sampled
from fastdiff.apps.similarity import distance, psnr
from fastdiff.inversion.inversion import Inversion
from fastdiff.solvers.integration import Progress
from fastdiff.solvers.readback import read_back


class TimedSampling(NamedTuple):
    """The result of an edit, with the seconds that its sampling took."""

    sampled: Sampled
    seconds: float


def _ignore(now: Progress) -> None:
    pass


def sample(edit: Edit, inversion: Inversion, watch: Watch = _ignore) -> TimedSampling:
    """Sample the edit from the inversion. Raises as `Edit.sample` does."""
    began = time.monotonic()
    sampled = edit.sample(inversion, watch)
    read_back(sampled.latents.sum())  # waits for the device
    return TimedSampling(sampled, time.monotonic() - began)


def measured(
    choice: AccelerationChoice,
    edit: Edit,
    inversion: Inversion,
    timed: TimedSampling,
    decode: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Return what sampling cost with this acceleration and, to verify, what it cost without, and the difference.

    `calls` are network calls one after another, `equivalent_calls` calls without acceleration that cost as much. The
    unaccelerated edit from the same inversion gives `plain_calls` and `plain_seconds`, `distance` of latents, relative
    to their norm, and `psnr` of the pictures that `decode` makes of latents, dB.
    """
    sampled = timed.sampled
    measures: dict[str, Any] = {
        "name": choice.file.name if choice.file else choice.name or "parallel",
        "parallel": choice.parallel,
        "budget": choice.aim if choice.name and not choice.file else None,
        "calls": sampled.calls,
        "equivalent_calls": round(sampled.equivalent_calls, 3),
        "seconds": round(timed.seconds, 3),
    }
    if not choice.verify:
        return measures
    plain = sample(replace(edit, acceleration=Unaccelerated()), inversion)
    pictures = [decode(each.latents).clamp(-1, 1) for each in (sampled, plain.sampled)]
    return measures | {
        "plain_calls": plain.sampled.calls,
        "plain_seconds": round(plain.seconds, 3),
        "distance": distance(sampled.latents, plain.sampled.latents),
        "psnr": psnr(*pictures),
    }
