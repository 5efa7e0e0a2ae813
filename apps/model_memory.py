"""Whether the weights of a model fit the memory of this machine."""

import os
from dataclasses import dataclass
from typing import Literal

from fastdiff.models.catalogue import Description

ROOM = 0.8  # share of the memory for weights, set by hand: activations and other programs need the rest
AUTOENCODERS = ("vae", "vqvae")  # parts that compute in float32 always
FLOAT32, HALF = 4, 2  # bytes of a number


@dataclass(frozen=True)
class Machine:
    """The device that networks compute on by default."""

    device: str  # cpu, mps or cuda
    number: int  # bytes of a number in its default precision
    memory: int  # bytes, of a GPU its own


@dataclass(frozen=True)
class Fit:
    """The memory that the weights of a model need, and whether the machine has it.

    `option` is an option of `fastdiff edit` without which they do not fit.
    """

    needed: int  # bytes, with the option
    fits: bool
    option: Literal["--offload", "--dtype bfloat16"] | None = None


def this_machine() -> Machine | None:
    """Return this machine; None where the system does not tell its memory."""
    import torch

    from fastdiff.apps.device import resolve_device

    device, dtype = resolve_device("auto", "auto")
    if device == "cuda":
        return Machine(device, dtype.itemsize, torch.cuda.get_device_properties(device).total_memory)
    try:
        return Machine(device, dtype.itemsize, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def fit(description: Description, machine: Machine) -> Fit:
    """Compare the weights of a model with ROOM of the memory, as they are and with the options that save memory."""
    room = ROOM * machine.memory
    whole = _needed(description, machine.number)
    if sum(whole.values()) <= room:
        return Fit(sum(whole.values()), True)
    if machine.device == "cuda":
        offloaded = max(whole.values())  # one part is on the device at a time
        return Fit(offloaded, True, "--offload") if offloaded <= room else Fit(sum(whole.values()), False)
    halved = sum(_needed(description, HALF).values())
    return Fit(halved, True, "--dtype bfloat16") if halved <= room else Fit(sum(whole.values()), False)


def _needed(description: Description, number: int) -> dict[str, int]:
    """Return the bytes of each part, with `number` bytes a number."""
    return {
        part: weights.numbers * (FLOAT32 if part in AUTOENCODERS else number)
        for part, weights in description.networks.items()
    }
