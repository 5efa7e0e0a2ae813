"""A cache of what all blocks of a transformer together add to their input."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from fastdiff.models.acceleration.block_calls import (
    BlockCall,
    Streams,
    call_of,
    hidden_of,
    minus,
    nbytes,
    plus,
    put_rows,
    returned,
    take_rows,
)
from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.acceleration.forecast import Forecast, first_forecast
from fastdiff.models.acceleration.rules import Rule, RuleState
from fastdiff.models.hooks import Block, Forward
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import choose_rows
from fastdiff.solvers.schedule import Level


@dataclass
class StackMemory:
    """The cache in a run, and the call at hand."""

    forecast: Forecast | None = None  # of what the blocks after the head add
    state: RuleState | None = None
    added: Tensor | None = None  # by the head to the hidden states, (R, N, D)
    start: Streams = ()  # after the head, each of R rows
    chosen: list[int] = field(default_factory=list)  # rows that compute
    others: list[int] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return (self.forecast.nbytes if self.forecast else 0) + nbytes(self.state or ())


@dataclass(frozen=True, eq=False)
class StackCache(CachedDenoiser):
    """Skips the blocks of a transformer after the head, for the rows that `rule` says.

    What the blocks add to such a row is forecast from the steps that computed it, by a polynomial of degree `order`.
    The last step computes all rows, and so do the first `order` + 1 calls. With `coupled` all rows compute if one does,
    as attention control needs, where rows read each other. After a call with another number of rows the cache is empty.

    Raises UsageError for a network with other blocks than those of known transformers, or without blocks after a head.
    """

    rule: Rule
    order: int = 0
    coupled: bool = False
    memory: StackMemory = field(default_factory=StackMemory, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self._blocks) <= self.rule.head:
            raise UsageError(f"a cache after {self.rule.head} of {len(self._blocks)} blocks: none is left to skip")

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        step, head, last = self.step(level), self.rule.head, len(self._blocks) - 1

        def cached(*inputs: Any, **named: Any) -> Any:
            call = call_of(block, forward, inputs, named)
            if block.index < head:
                return returned(self._compute_head(call))
            if block.index == head:
                self._choose(step, call)
            streams = self._compute_chosen(block.index, call)
            return returned(self._complete(step, streams) if block.index == last else streams)

        return cached

    def fresh(self) -> Self:
        return replace(super().fresh(), memory=StackMemory())

    def _compute_head(self, call: BlockCall) -> Streams:
        streams = call.compute()
        self.memory.added = hidden_of(streams) - call.hidden
        return streams

    def _choose(self, step: int, call: BlockCall) -> None:
        """Choose the rows that compute in this call."""
        memory, every = self.memory, list(range(call.rows))
        self.log.rows = call.rows
        if memory.forecast and memory.forecast.rows != call.rows:
            memory.forecast = memory.state = None
        decision = self.rule.decide(step, call, memory.added, memory.state)
        memory.added = None
        known = memory.forecast is not None and len(memory.forecast.factors) > self.order
        if not known or step == len(self.grid) - 2:
            memory.chosen = every
        else:
            computes = decision.computes
            wanted = read_back(computes) if isinstance(computes, Tensor) else computes
            memory.chosen = [row for row in every if wanted[row] or (self.coupled and any(wanted))]
        memory.others = sorted(set(every) - set(memory.chosen))
        mask = torch.zeros(call.rows, dtype=torch.bool, device=call.hidden.device)
        mask = mask.index_fill(0, torch.tensor(memory.chosen, dtype=torch.long, device=mask.device), True)
        memory.state = tuple(choose_rows(mask, *each) for each in zip(decision.computed, decision.reused, strict=True))
        memory.start = call.streams

    def _compute_chosen(self, index: int, call: BlockCall) -> Streams:
        """Return what the block makes of the chosen rows. If there are none, its input."""
        memory = self.memory
        if not memory.others:
            return call.compute()
        self.log.saved.append((self.log.shares[index], memory.others))
        if not memory.chosen:
            return call.streams
        return call.take(memory.chosen, len(memory.chosen) + len(memory.others)).compute()

    def _complete(self, step: int, streams: Streams) -> Streams:
        """Return the output of the last block for all rows, from that for the chosen ones, and update the cache."""
        memory = self.memory
        chosen, others, start = memory.chosen, memory.others, memory.start
        memory.start = ()
        if chosen:
            value = minus(streams, take_rows(start, chosen) if others else start)
            if memory.forecast is None:
                memory.forecast = first_forecast(step, value, len(chosen), self.order)
            else:
                memory.forecast = memory.forecast.updated(step, chosen, value, self.order)
            self.log.nbytes = max(self.log.nbytes, memory.nbytes)
        if not others:
            return streams
        assert memory.forecast is not None
        reused = plus(take_rows(start, others), memory.forecast.at(step, others))
        whole = put_rows(start, others, reused)
        return put_rows(whole, chosen, streams) if chosen else whole
