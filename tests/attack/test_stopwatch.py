"""The seconds inside modules and their gradients, by a clock that only the modules move."""

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.attack.stopwatch import REST, stopwatch


class Clock:
    now = 0.0


class Spend(torch.autograd.Function):
    """Moves the clock by `seconds` forward, and by ten times as many backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clock: Clock, seconds: float) -> Tensor:
        ctx.clock, ctx.seconds = clock, seconds
        ctx.save_for_backward(x)
        clock.now += seconds
        return x * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        assert ctx.saved_tensors  # a checkpoint computes them again
        ctx.clock.now += 10 * ctx.seconds
        return 2 * gradients[0], None, None


class Network(nn.Module):
    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = Spend.apply(x, self.clock, self.seconds)
        return made


@pytest.mark.parametrize(("again", "network"), [(False, 3 + 30), (True, 3 + 3 + 30)])
def test_a_second_counts_once_and_gradients_count_with_their_module(
    again: bool, network: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    inner, classifier = Network(clock, 3), Network(clock, 100)
    names: dict[nn.Module, str] = {inner: "network", classifier: "classifier"}
    x = torch.ones(2, requires_grad=True)
    with stopwatch(names.get) as seconds:
        made = checkpoint(inner, x, use_reentrant=False) if again else inner(x)
        changed = Spend.apply(made, clock, 0.5)
        (gradient,) = torch.autograd.grad(classifier(changed).sum(), x)
    assert gradient.tolist() == [8, 8]
    assert dict(seconds) == {"network": network, "classifier": 100 + 1000, REST: 0.5 + 5}
    with torch.no_grad():
        inner(x)
    assert seconds["network"] == network  # the hooks are gone
