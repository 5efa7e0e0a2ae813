"""Measures the seconds inside chosen modules, those of their gradients included."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

REST = "rest"

PartOf = Callable[[nn.Module], str | None]


@contextmanager
def stopwatch(part_of: PartOf) -> Iterator[dict[str, float]]:
    """Count the seconds inside by part, on the CPU; those of no part go to REST.

    `part_of` names the part of a module, None for one that counts with the module around it. A second counts once, in
    the innermost part. Gradients count from the module's output to its input.
    """
    clock = _Clock()
    hooks = (
        register_module_forward_pre_hook(lambda module, given: clock.begin(part_of(module))),
        register_module_forward_hook(
            lambda module, given, made: clock.passed(part_of(module), given, made), always_call=True
        ),
    )
    try:
        yield clock.seconds
        clock.lap()
    finally:
        for hook in hooks:
            hook.remove()


class _Clock:
    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open, self._since = [REST], time.perf_counter()

    def lap(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def begin(self, part: str | None) -> None:
        if part is not None:
            self.lap()
            self._open.append(part)

    def end(self) -> None:
        self.lap()
        self._open.pop()

    def passed(self, part: str | None, given: tuple[Any, ...], made: Any) -> None:
        """End the pass of a module, and wait for its gradient."""
        if part is None:
            return
        self.end()
        inputs, outputs = (
            [each for each in tensors if isinstance(each, Tensor) and each.requires_grad]
            for tensors in (given, made if isinstance(made, tuple) else (made,))
        )
        if inputs and outputs:
            outputs[0].register_hook(lambda gradient: self.begin(part))
            inputs[0].register_hook(lambda gradient: self.end())
