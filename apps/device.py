"""The device and the precision of networks."""

import torch

from fastdiff.solvers.errors import MissingError
from fastdiff.solvers.validation import check_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Return the device and the precision of these names.

    "auto" takes the fastest device present, and half precision on devices made for it. Raises UsageError for other
    names than auto, cpu, cuda, mps (with a number, such as cuda:1) and those of DTYPES, MissingError for an absent
    device.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    for what, given, allowed in (("device", device.split(":")[0], present), ("dtype", dtype, ("auto", *DTYPES))):
        check_name(what, given, allowed)
    if not present[device.split(":")[0]]:
        raise MissingError(f"device '{device}' is not available here: use --device cpu")
    if dtype != "auto":
        return device, DTYPES[dtype]
    return device, torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
