"""Attention of diffusers' networks, for as long as something else shall happen in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

Processor = Callable[..., Tensor]


@contextmanager
def processors(network: Any, wrap: Callable[[str, Processor], Processor]) -> Iterator[None]:
    """Every processor is what `wrap` makes of its name and itself inside, and as it was afterwards, whatever happens.

    Names are such as "transformer_blocks.3.attn1.processor".
    """
    originals: dict[str, Any] = dict(network.attn_processors)
    try:
        wrapped: dict[str, Any] = {name: wrap(name, each) for name, each in originals.items()}
        network.set_attn_processor(wrapped)
        yield
    finally:
        network.set_attn_processor(dict(originals))  # a copy: what is passed is emptied
