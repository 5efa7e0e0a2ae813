"""The device and the precision of networks."""

import torch

from fastdiff.solvers.errors import MissingError, UsageError
from fastdiff.solvers.validation import check_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Return the device and the precision of these names.

    "auto" takes the fastest device present, and half precision on devices made for it. Raises UsageError for other
    names than auto, cpu, cuda, mps (with a number, such as cuda:1) and those of DTYPES, MissingError for an absent
    device.
    """
    present = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    kind, mark, number = device.partition(":")
    for what, given, allowed in (("device", kind, present), ("dtype", dtype, ("auto", *DTYPES))):
        check_name(what, given, allowed)
    if mark and not (number.isascii() and number.isdecimal()):
        raise UsageError(f"device {device!r}: give its kind and a number, such as cuda:1")
    if int(number or 0) >= present[kind]:
        here = ", ".join(f"{name}:{each}" for name in ("cuda", "mps") for each in range(present[name]))
        raise MissingError(f"device {device!r} is not available here: use --device {here or 'cpu'}")
    if dtype != "auto":
        return device, DTYPES[dtype]
    return device, torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
