"""The precisions of networks, and the check for overflow in them."""

import torch
from torch import Tensor

from fastdiff.apps.device import resolve_device
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

WIDER = {torch.float16: (torch.bfloat16, torch.float32), torch.bfloat16: (torch.float32,), torch.float32: ()}


class NotFiniteError(UsageError):
    """A network gave infinite or undefined numbers, of which no picture can be made."""


def precisions(device: str, dtype: str) -> tuple[str, tuple[torch.dtype, ...]]:
    """Return the device, and the precisions to try in turn: "auto" continues with wider ones, a given one is the only
    one.

    Raises as `resolve_device` does.
    """
    where, first = resolve_device(device, dtype)
    return where, (first, *WIDER[first]) if dtype == "auto" else (first,)


def check_finite(values: Tensor, made: str, dtype: torch.dtype) -> None:
    """Raise NotFiniteError if `values`, computed in this precision, are not all finite; `made` names them."""
    if read_back(values.isfinite().all()):
        return
    wider = " or ".join(f"--dtype {dtype_name(each)}" for each in WIDER[dtype])
    remedy = f"give {wider}" if wider else "try milder settings, or another model"
    raise NotFiniteError(f"{made} overflows in {dtype_name(dtype)}, so there is no picture to write: {remedy}")


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a precision, as --dtype takes it."""
    return str(dtype).removeprefix("torch.")
