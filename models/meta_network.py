"""Networks of which only the shapes exist."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

INITIAL = ("normal_", "uniform_", "div", "__truediv__", "mul", "__mul__")  # that set or scale initial weights
FILLED = ("randn", "eye")  # that make such weights


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Put the weights of modules that are made inside on the device "meta".

    Initial values are left alone, and small tables of positions stay on the processor: on that device, torch would
    import its compiler for either.
    """
    with torch.device("meta"), _Shapes():
        yield


class _Shapes(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "arange":
            return func(*args, **given | {"device": "cpu"})
        if name in FILLED:
            return torch.empty(*args, **given)
        first, *others = args or (given.get("tensor"),)  # as `torch.nn.init` passes it
        scales = not any(isinstance(each, torch.Tensor) for each in others)
        if name in INITIAL and scales and isinstance(first, torch.Tensor) and first.is_meta:
            return first
        return func(*args, **given)
