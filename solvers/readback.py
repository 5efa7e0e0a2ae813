"""The one place where the values of tensors on a device are read, and shapes that depend on them."""

from typing import Any

from torch import Tensor


def read_back(values: Tensor) -> Any:
    """Return the values of a tensor: a Python number for a scalar, else nested lists. Waits for the device.

    Code that computes on a device reads values through this function alone, so that tests on a device without values
    can replace it.
    """
    return values.tolist()


def selected(values: Tensor, mask: Tensor) -> Tensor:
    """Return the values (N, ...) of a tensor (*M, ...) where a mask (*M) is true. Waits for the device.

    N depends on values; tests replace this function as `read_back`.
    """
    return values[mask]
