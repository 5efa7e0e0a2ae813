"""Context manager that temporarily replaces the attention processors of a diffusers network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

Processor = Callable[..., Tensor]


@contextmanager
def processors(network: Any, wrap: Callable[[str, Processor], Processor]) -> Iterator[None]:
    """Replace every processor by `wrap(name, processor)`, and restore all of them on exit.

    A name is the processor's path in the network, such as "transformer_blocks.3.attn1.processor".
    """
    originals: dict[str, Any] = dict(network.attn_processors)
    try:
        wrapped: dict[str, Any] = {name: wrap(name, each) for name, each in originals.items()}
        network.set_attn_processor(wrapped)
        yield
    finally:
        network.set_attn_processor(dict(originals))  # a copy: what is passed is emptied
