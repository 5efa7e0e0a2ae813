"""The timesteps of a run, and the position in it that a pipeline means by one of them."""

from dataclasses import dataclass
from math import isclose
from numbers import Integral

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError

TOLERANCE = 1e-6  # relative, of float32
HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Timesteps:
    """Timesteps as the network takes them, of falling noise: floats, several of which may be equal."""

    tensor: Tensor  # (N,) float32, for pipelines to loop over
    values: tuple[float, ...]  # the same numbers on the host

    def position(self, timestep: Tensor | float, following: int | None) -> int:
        """The index of a timestep; `following` is that of the step that comes next, if one does.

        An element of `tensor` is known by its place in memory, without reading it, which would wait for a device. Other
        tensors and numbers are compared: floats to the precision of their dtype, whole numbers with rounded and with
        truncated timesteps. Of equal timesteps it is the following one; apart from that the second, as in diffusers.

        Raises UsageError for a timestep that is not of this run, that could be several of it, or that is not one.
        """
        if (place := self._place(timestep)) is not None:
            return place
        value, found = self._candidates(timestep)
        if following in found:
            return following
        found = [index for index in found if self._equals(index, value)] or found
        if not found:
            raise UsageError(f"timestep {value:g} is none of this run: the nearest are {self._nearest(value)}")
        if len({self.values[index] for index in found}) > 1:
            raise UsageError(f"timestep {value:g} could be {self._named(found)} of this run: give it as a float")
        return found[1] if len(found) > 1 else found[0]

    def exact(self, value: float, following: int | None) -> int | None:
        """The index of a timestep of just this value, chosen as by `position`; None where there is none."""
        found = [index for index in range(len(self.values)) if self._equals(index, value)]
        if not found or following in found:
            return following if found else None
        return found[1] if len(found) > 1 else found[0]

    def _place(self, timestep: Tensor | float) -> int | None:
        if not isinstance(timestep, Tensor) or timestep.dtype != self.tensor.dtype or not timestep.numel():
            return None
        if timestep.untyped_storage().data_ptr() != self.tensor.untyped_storage().data_ptr():
            return None
        one = all(stride == 0 or size == 1 for size, stride in zip(timestep.shape, timestep.stride(), strict=True))
        return int(timestep.storage_offset() - self.tensor.storage_offset()) if one else None

    def _candidates(self, timestep: Tensor | float) -> tuple[float, list[int]]:
        """The number that is meant, and the indices whose timesteps could have become it."""
        numbers = timestep.flatten().tolist() if isinstance(timestep, Tensor) else [timestep]
        if len(set(numbers)) != 1:
            raise UsageError(f"a step at {len(set(numbers))} timesteps: all rows of a step share one")
        value, whole = float(numbers[0]), isinstance(numbers[0], Integral)
        every = range(len(self.values))
        if isinstance(timestep, Tensor) and timestep.dtype in HALVES:
            rounded = torch.tensor(self.values).to(timestep.dtype).tolist()
            return value, [index for index in every if rounded[index] == value]
        found = [index for index in every if self._equals(index, value)]
        if whole or (not found and value.is_integer()):
            found = [index for index in every if value in (round(self.values[index]), int(self.values[index]))]
        return value, found

    def _equals(self, index: int, value: float) -> bool:
        return isclose(self.values[index], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)

    def _nearest(self, value: float) -> str:
        return self._named(sorted(range(len(self.values)), key=lambda index: abs(self.values[index] - value))[:2])

    def _named(self, indices: list[int]) -> str:
        return " and ".join(f"{value:g}" for value in dict.fromkeys(self.values[index] for index in indices))
