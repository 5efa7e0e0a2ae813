"""Calls of the blocks of a transformer: the streams that a block adds to, and the rows of a call."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.models.hooks import Block, Forward, blocks
from fastdiff.solvers.errors import UsageError

HIDDEN, PROMPT = "hidden_states", "encoder_hidden_states"
Streams = tuple[
    Tensor | None, ...
]  # each (R, N, D), in the order in which blocks return them; None: dropped by a block


@dataclass(frozen=True, eq=False)
class BlockCall:
    """A call of a block: its arguments by name."""

    module: nn.Module
    forward: Forward
    arguments: dict[str, Any]
    names: tuple[str, ...]  # of the arguments that are streams, in the order of the output

    @property
    def streams(self) -> Streams:
        return tuple(self.arguments[name] for name in self.names)

    @property
    def hidden(self) -> Tensor:
        hidden: Tensor = self.arguments[HIDDEN]  # (R, N, D)
        return hidden

    @property
    def rows(self) -> int:
        return len(self.hidden)

    def take(self, rows: Sequence[int], total: int) -> "BlockCall":
        """Return the call of these rows alone. Tensors with `total` rows are batch-first; others stay as they are."""
        index = torch.tensor(rows, device=self.hidden.device)
        taken = {
            name: value.index_select(0, index) if isinstance(value, Tensor) and len(value) == total else value
            for name, value in self.arguments.items()
        }
        return replace(self, arguments=taken)

    def compute(self) -> Streams:
        out = self.forward(**self.arguments)
        return out if isinstance(out, tuple) else (out,)


def call_of(block: Block, forward: Forward, inputs: tuple[Any, ...], named: dict[str, Any]) -> BlockCall:
    """Return the call of a block with these arguments."""
    signature = inspect.signature(type(block.module).forward)
    arguments = signature.bind(block.module, *inputs, **named).arguments
    del arguments["self"]
    return BlockCall(block.module, forward, dict(arguments), stream_names(block.module))


def hidden_of(streams: Streams) -> Tensor:
    """Return the stream of the picture, which is the last one and which no block drops."""
    hidden = streams[-1]
    assert hidden is not None
    return hidden


def returned(streams: Streams) -> Any:
    """Return streams as a block returns them."""
    return streams if len(streams) > 1 else streams[0]


def stream_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a block's arguments that it adds to, in the order of its output.

    Raises UsageError for blocks of other networks than transformers.
    """
    from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
    from diffusers.models.transformers.sana_transformer import SanaTransformerBlock
    from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock, FluxTransformerBlock

    if isinstance(module, BasicTransformerBlock | SanaTransformerBlock):
        return (HIDDEN,)
    if isinstance(module, JointTransformerBlock | FluxTransformerBlock | FluxSingleTransformerBlock):
        return (PROMPT, HIDDEN)
    raise UsageError(f"a cache of {type(module).__name__}: caches know the blocks of PixArt, Sana, SD3 and FLUX")


def check_blocks(network: nn.Module) -> tuple[Block, ...]:
    """Return the blocks of a network. Raises UsageError unless caches know all of them."""
    found = blocks(network)
    for block in found:
        stream_names(block.module)
    return found


def plus(a: Streams, b: Streams) -> Streams:
    """Return the sums of streams; a stream that one side dropped is dropped."""
    return tuple(None if x is None or y is None else x + y for x, y in zip(a, b, strict=True))


def minus(a: Streams, b: Streams) -> Streams:
    """Return the differences of streams; a stream that one side dropped is dropped."""
    return tuple(None if x is None or y is None else x - y for x, y in zip(a, b, strict=True))


def scaled(streams: Streams, scales: Iterable[Tensor], shifts: Iterable[Tensor]) -> Streams:
    """Return streams times the scale (D,) plus the shift (D,) of each."""
    each = zip(streams, scales, shifts, strict=True)
    return tuple(None if x is None else x * scale.to(x) + shift.to(x) for x, scale, shift in each)


def take_rows(streams: Streams, rows: Sequence[int]) -> Streams:
    """Return these rows of every stream."""
    return tuple(None if x is None else x.index_select(0, torch.tensor(rows, device=x.device)) for x in streams)


def put_rows(streams: Streams, rows: Sequence[int], values: Streams) -> Streams:
    """Return the streams with these rows replaced by values (len(rows), N, D)."""
    return tuple(
        None if x is None or y is None else x.index_copy(0, torch.tensor(rows, device=x.device), y.to(x.dtype))
        for x, y in zip(streams, values, strict=True)
    )


def nbytes(streams: Streams) -> int:
    """Return the bytes of all streams."""
    return sum(x.nbytes for x in streams if x is not None)
