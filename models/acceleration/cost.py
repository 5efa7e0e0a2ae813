"""The cost of cached calls in calls of the network: shares of the blocks in its FLOPs, and a log of decisions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from fastdiff.models.hooks import Block, blocks


class CachedCall(NamedTuple):
    """The decisions of one call of a network with a cache."""

    step: int  # of the run
    shares: tuple[float, ...]  # of the FLOPs of a call, computed for each row


@dataclass
class CacheLog:
    """What a cache computed in a run: calls, their cost and the bytes of the cache.

    Copies of a denoiser made by `fresh` share one log, and `fresh` clears it. The shares of the blocks stay.
    """

    shares: tuple[float, ...] = ()  # of each block, in the FLOPs of a call; empty before the first call
    calls: list[CachedCall] = field(default_factory=list)
    nbytes: int = 0  # largest size of the cache so far

    @property
    def cost(self) -> float:
        """Return the calls of the network that cost as much as the run so far."""
        return sum(sum(call.shares) / len(call.shares) for call in self.calls)

    def add(self, step: int, rows: int, saved: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Add a call of `rows` rows. `saved`: blocks that did not compute, each with these of its rows."""
        shares = [1.0] * rows
        for block, skipped in saved:
            for row in skipped:
                shares[row] -= self.shares[block]
        self.calls.append(CachedCall(step, tuple(shares)))

    def clear(self) -> None:
        self.calls.clear()
        self.nbytes = 0


@contextmanager
def measured_shares(network: nn.Module) -> Iterator[list[float]]:
    """Give the share of each block in the FLOPs of a call of the network, once the call inside has returned."""
    shares: list[float] = []
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        yield shares
    counts = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    if total := counts.get("Global", 0):
        shares += [_of_block(counts, network, block) / total for block in blocks(network)]


def _of_block(counts: dict[str, int], network: nn.Module, block: Block) -> int:
    return counts.get(f"{type(network).__name__}.{block.name}", 0)


def _attention_flops(query: Any, key: Any, value: Any, *more: Any, **named: Any) -> int:
    """Return the FLOPs of an attention on the CPU, which torch has no count for."""
    return int(sdpa_flop_count(query, key, value))
