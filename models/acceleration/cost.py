"""The cost of cached calls in calls of the network: shares of the blocks in its FLOPs, and a log of decisions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from fastdiff.models.hooks import blocks


class CachedCall(NamedTuple):
    """The decisions of one call of a network with a cache."""

    step: int  # of the run
    shares: tuple[float, ...]  # (R) of the FLOPs of a call, computed for each row


@dataclass
class CacheLog:
    """What a cache computed in a run: its calls, their cost, and the largest size of the cache.

    Copies of a denoiser made by `fresh` share one log, and `fresh` clears it. The shares of the blocks stay.
    """

    shares: tuple[float, ...] = ()  # (L) of each block, in the FLOPs of a call; empty before the first call
    calls: list[CachedCall] = field(default_factory=list)
    nbytes: int = 0
    rows: int = 0  # of the call at hand
    saved: list[tuple[float, Sequence[int]]] = field(default_factory=list)  # shares of the call at hand, and their rows

    @property
    def cost(self) -> float:
        """Return the number of calls of the network that cost as much as those so far."""
        return sum(sum(call.shares) / len(call.shares) for call in self.calls)

    def add(self, step: int) -> None:
        """Add the call at hand, which has ended."""
        shares = [1.0] * self.rows
        for share, rows in self.saved:
            for row in rows:
                shares[row] -= share
        if shares:
            self.calls.append(CachedCall(step, tuple(shares)))
        self.rows = 0
        self.saved.clear()

    def clear(self) -> None:
        self.calls.clear()
        self.saved.clear()
        self.nbytes = self.rows = 0


@contextmanager
def measured_shares(network: nn.Module) -> Iterator[list[float]]:
    """Give the share (L) of each block in the FLOPs of the network, from a call in this context, after its end."""
    shares: list[float] = []
    with flop_counter() as counter:
        yield shares
    counts = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    if total := counts.get("Global", 0):
        names = [f"{type(network).__name__}.{block.name}" for block in blocks(network)]
        shares += [counts.get(name, 0) / total for name in names]


def flop_counter() -> FlopCounterMode:
    """Return a counter of the FLOPs in its context, of attention on the CPU too."""
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    return FlopCounterMode(display=False, custom_mapping=attention)


def _attention_flops(query: Any, key: Any, value: Any, *more: Any, **named: Any) -> int:
    """Return the FLOPs of attention on the CPU, which the counter does not know by itself."""
    return int(sdpa_flop_count(query, key, value))
