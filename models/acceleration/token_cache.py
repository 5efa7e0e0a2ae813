"""A cache of what all blocks of a transformer together add to each token: the token-wise regime of SADA.

SADA (ICML 2025, arXiv 2507.17135) computes the tokens where its criterion calls the run unstable, and one in every
window of 3 x 3. The released code runs the blocks on these tokens alone, and the others keep their last values. On the
bundled model such runs are farther from the full run than fewer steps at the same cost. Two things differ here: tokens
attend to all tokens, with the last keys and values of the others, and what blocks add to the others is forecast. A
constant number of tokens computes in place of a threshold, so that shapes are constant and items independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from torch import Tensor

from fastdiff.models.acceleration.block_calls import HIDDEN, BlockCall, Streams, call_of, hidden_of, returned
from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.acceleration.cost import flop_counter
from fastdiff.models.acceleration.token_choice import chosen_tokens, on_tokens, put_tokens, take_tokens
from fastdiff.models.acceleration.token_forecast import TokenForecast, first_token_forecast
from fastdiff.models.hooks import Block, Forward, hooked_blocks
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.forecast import NODES, Track, angle_of, normalized, unit
from fastdiff.solvers.sada import gap_and_bend
from fastdiff.solvers.schedule import Level

BEGIN, END = 0.2, 0.94  # of a run, between which calls may be partial, as in SADA


@dataclass
class TokenMemory:
    """The cache in a run, and the call at hand."""

    track: Track = field(default_factory=Track)  # of the last calls
    step: int = -1  # of the last call
    angle: float = 0.0
    state: Tensor | None = None  # (B, C, h, w), normalized
    forecast: TokenForecast | None = None  # of what all blocks add
    projected: dict[str, Tensor] = field(default_factory=dict)  # (R, N, D) keys and values, by the name of their layer
    partial: int = 0  # partial calls in a row
    stability: Tensor | None = None  # (B, h, w) in the call at hand, None if it has to compute all tokens
    start: Tensor | None = None  # (R, N, D) before the first block
    tokens: Tensor | None = None  # (R, K) that compute, None for all

    @property
    def nbytes(self) -> int:
        forecast = self.forecast.nbytes if self.forecast else 0
        return forecast + sum(each.nbytes for each in self.projected.values())


@dataclass(frozen=True, eq=False)
class TokenCache(CachedDenoiser):
    """Computes a share of the tokens in all blocks, in at most `longest` calls in a row, and then all of them.

    The tokens are those of `chosen_tokens`, by SADA's criterion at each position, and the same for all rows of an item.
    What the blocks add to other tokens is forecast. Calls compute all tokens outside of the shares BEGIN and END of a
    run, in the first NODES calls and in the last step; a `longest` of 0 leaves the run unchanged. After calls with
    other rows, and calls that do not follow each other, the cache is empty.

    Raises UsageError for blocks in which a token alone is not enough, and for a share outside (0, 1] or a negative
    `longest`.
    """

    share: float
    longest: int
    memory: TokenMemory = field(default_factory=TokenMemory, kw_only=True)
    flops: dict[tuple[int, int], float] = field(default_factory=dict, kw_only=True)  # of a row, by block and tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_tokenwise(self._blocks)
        if not (0 < self.share <= 1 and self.longest >= 0):
            raise UsageError(
                f"a share of {self.share:g} of the tokens in {self.longest} calls in a row: give a share above 0 and "
                "at most 1, and 0 calls or more"
            )

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        memory = self.memory
        memory.stability = self._stability(x, level)
        estimate = super().__call__(x, level)
        scaled = unit(level)
        slope = scaled.alpha * estimate.eps - scaled.sigma * estimate.x0
        memory.track = memory.track.added(angle_of(level), slope, [True] * len(x))
        memory.step, memory.angle, memory.state = self.step(level), angle_of(level), normalized(x, level)
        return estimate

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        step, last = self.step(level), len(self._blocks) - 1

        def cached(*inputs: Any, **named: Any) -> Any:
            call = call_of(block, forward, inputs, named)
            if block.index == 0:
                call = self._chosen(step, call)
            streams = self._computed(block.index, call)
            return returned(self._complete(step, streams) if block.index == last else streams)

        return cached

    def fresh(self) -> Self:
        return replace(super().fresh(), memory=TokenMemory())

    def _stability(self, x: Tensor, level: Level) -> Tensor | None:
        """Return SADA's criterion (B, h, w), mean over channels, or None for a call that has to compute all tokens."""
        memory, step, steps = self.memory, self.step(level), len(self.grid) - 1
        if memory.state is None or memory.state.shape != x.shape or step != memory.step + 1:
            memory.track, memory.forecast = Track(), None
            return None
        if not _inside(step, steps) or len(memory.track.slopes) < NODES or memory.partial >= self.longest:
            return None
        gap, bend = gap_and_bend(memory.track, memory.state, normalized(x, level), memory.angle, angle_of(level))
        return (gap * bend).mean(1)

    def _chosen(self, step: int, call: BlockCall) -> BlockCall:
        """Choose the tokens that compute in this call, and return the call of the first block on them alone."""
        memory = self.memory
        self.log.rows, memory.start, memory.tokens = call.rows, call.hidden, None
        if memory.forecast and memory.forecast.rows != call.rows:
            memory.forecast = None
        if memory.stability is not None and memory.forecast and memory.forecast.slopes is not None:
            stability = on_tokens(memory.stability, call.hidden.shape[1])
            tokens = chosen_tokens(stability, max(1, int(self.share * call.hidden.shape[1])), step)
            memory.tokens = tokens.repeat(call.rows // len(tokens), 1)
        memory.partial = 0 if memory.tokens is None else memory.partial + 1
        return replace(call, arguments=call.arguments | {HIDDEN: take_tokens(call.hidden, memory.tokens)})

    def _computed(self, index: int, call: BlockCall) -> Streams:
        """Return what a block makes of the chosen tokens, and log what it saves."""
        count = call.hidden.shape[1]
        with hooked_blocks(self._projections[index], self._projection):
            if not self.log.shares or (index, count) in self.flops:
                streams = call.compute()
            else:
                with flop_counter() as counter:
                    streams = call.compute()
                self.flops[index, count] = counter.get_total_flops() / call.rows
        if self.memory.tokens is not None:
            assert self.memory.start is not None
            part = self.flops[index, count] / self.flops[index, self.memory.start.shape[1]]
            self.log.saved.append((self.log.shares[index] * (1 - part), range(call.rows)))
        return streams

    def _projection(self, projection: Block, forward: Forward) -> Forward:
        """Return the layer that projects the chosen tokens and returns the last keys or values of all tokens."""

        def projected(*inputs: Any, **named: Any) -> Tensor:
            memory = self.memory
            values: Tensor = forward(*inputs, **named)
            expected = memory.start if memory.tokens is None else memory.tokens
            if expected is None or values.shape[1] != expected.shape[1]:
                raise UsageError("a cache of tokens under attention that merges tokens: give another cache")
            whole = put_tokens(memory.projected.get(projection.name, values), memory.tokens, values)
            memory.projected[projection.name] = whole
            return whole

        return projected

    def _complete(self, step: int, streams: Streams) -> Streams:
        """Return the output of the last block for all tokens, from that for the chosen ones, and update the cache."""
        memory = self.memory
        start, tokens, memory.start = memory.start, memory.tokens, None
        assert start is not None
        added = hidden_of(streams) - take_tokens(start, tokens)
        if memory.forecast is None:
            memory.forecast = first_token_forecast(step, added)
        else:
            memory.forecast = memory.forecast.updated(step, tokens, added)
        self.log.nbytes = max(self.log.nbytes, memory.nbytes)
        if tokens is None:
            return streams
        return (*streams[:-1], start + memory.forecast.at(step).to(start.dtype))

    @cached_property
    def _projections(self) -> tuple[tuple[Block, ...], ...]:
        """The layers of every block that make keys and values of the picture's tokens."""
        layers = [layer for layer in self._layers if not layer.cross]
        return tuple(
            tuple(
                Block(block.index, f"{layer.name}.{name}", getattr(layer.module, name))
                for layer in layers
                if layer.block == block.index
                for name in ("to_k", "to_v")
            )
            for block in self._blocks
        )


def partial_calls(steps: int, longest: int) -> int:
    """Return the number of partial calls in a run of `steps`, at most `longest` in a row."""
    inside = sum(_inside(step, steps) for step in range(steps))
    return inside - inside // (longest + 1)


def _inside(step: int, steps: int) -> bool:
    """Return whether a call at this step may be partial."""
    return max(NODES, BEGIN * steps) <= step < min(END * steps, steps - 1)


def _check_tokenwise(blocks: Sequence[Block]) -> None:
    """Raise UsageError for blocks that read more of other tokens than their keys and values."""
    from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock

    for block in blocks:
        if not isinstance(block.module, BasicTransformerBlock | JointTransformerBlock):
            raise UsageError(
                f"a cache of tokens in a network of {type(block.module).__name__}: blocks with convolutions or rotary "
                "positions need all tokens, give another cache"
            )
