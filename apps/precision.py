"""The precisions to compute in, and what is done where numbers overflow in one of them."""

import torch
from torch import Tensor

from fastdiff.apps.device import place
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

WIDER = {torch.float16: (torch.bfloat16, torch.float32), torch.bfloat16: (torch.float32,), torch.float32: ()}


class NotFiniteError(UsageError):
    """A network gave infinite or undefined numbers, of which no picture is made."""


def precisions(device: str, dtype: str) -> tuple[str, tuple[torch.dtype, ...]]:
    """The device, and the precisions to try in turn: "auto" goes on to wider ones, a given one is the only one.

    Raises as `place` does.
    """
    where, first = place(device, dtype)
    return where, (first, *WIDER[first]) if dtype == "auto" else (first,)


def check_finite(values: Tensor, made: str, dtype: torch.dtype) -> None:
    """Raise NotFiniteError where `values`, named by `made` and computed in this precision, are not all finite."""
    if read_back(values.isfinite().all()):
        return
    wider = " or ".join(f"--dtype {name_of(each)}" for each in WIDER[dtype])
    remedy = f"give {wider}" if wider else "try milder settings, or another model"
    raise NotFiniteError(f"{made} overflows in {name_of(dtype)}, so there is no picture to write: {remedy}")


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a precision, as --dtype takes it."""
    return str(dtype).removeprefix("torch.")
