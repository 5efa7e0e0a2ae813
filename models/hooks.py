"""Hooks at the attention layers and the blocks of a network of diffusers.

Attention control, token merging and block caches are `HookedDenoiser`s: one seam for all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.schedule import Level

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_flux import FluxAttention

BLOCKS = (
    "transformer_blocks",
    "single_transformer_blocks",
    "down_blocks",
    "mid_block",
    "up_blocks",
)  # parts of networks, in the order of execution

Processor = Callable[..., Any]  # of a layer; one of joint attention may return a pair, of picture and prompt
Forward = Callable[..., Any]  # of a block; a UNet's down blocks return a tuple


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a network: of a transformer, or of one resolution of a UNet."""

    index: int  # from 0, in the order of execution
    name: str  # path in the network
    module: nn.Module


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """An attention layer of a network."""

    name: str  # path in the network
    block: int  # index of its block
    cross: bool  # True if it attends to the prompt alone, False if to the positions of the picture
    joint: bool  # True if positions and tokens of the prompt attend to each other, in one softmax
    index: int  # among the layers with the same `cross`, from 0, in the order of execution
    module: "Attention | FluxAttention"


def blocks(network: nn.Module) -> tuple[Block, ...]:
    """Return the blocks of a network. Raises UsageError for a network without any of BLOCKS."""
    named: list[tuple[str, nn.Module]] = []
    for part in BLOCKS:
        found = getattr(network, part, None)
        if isinstance(found, nn.ModuleList):
            named += [(f"{part}.{number}", module) for number, module in enumerate(found)]
        elif found is not None:
            named.append((part, found))
    if not named:
        raise UsageError(f"a {type(network).__name__} has none of {', '.join(BLOCKS)}")
    return tuple(Block(index, name, module) for index, (name, module) in enumerate(named))


def attention_layers(network: nn.Module) -> tuple[AttentionLayer, ...]:
    """Return the attention layers of a network's blocks, block by block. Raises as `blocks` does."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_flux import FluxAttention

    numbers = {True: count(), False: count()}
    return tuple(
        AttentionLayer(f"{block.name}.{name}", block.index, cross, _is_joint(module), next(numbers[cross]), module)
        for block in blocks(network)
        for name, module in block.module.named_modules()
        if isinstance(module, Attention | FluxAttention)
        for cross in [isinstance(module, Attention) and module.is_cross_attention]
    )


@contextmanager
def hooked_attention(
    layers: Sequence[AttentionLayer], hook: Callable[[AttentionLayer, Processor], Processor]
) -> Iterator[None]:
    """Replace the processor of every layer by `hook(layer, processor)`, and restore all of them on exit."""
    with ExitStack() as stack:
        for layer in layers:
            original: Any = layer.module.processor
            replacement: Any = hook(layer, original)
            if replacement is not original:
                stack.callback(layer.module.set_processor, original)
                layer.module.set_processor(replacement)
        yield


@contextmanager
def hooked_blocks(blocks: Sequence[Block], hook: Callable[[Block, Forward], Forward]) -> Iterator[None]:
    """Replace the forward function of every block by `hook(block, forward)`, and restore all of them on exit."""
    with ExitStack() as stack:
        for block in blocks:
            original = block.module.forward
            replacement = hook(block, original)
            if replacement is not original:
                stack.callback(_restore, block.module, block.module.__dict__.get("forward"))
                block.module.forward = replacement  # type: ignore[method-assign]
        yield


@dataclass(frozen=True, eq=False)
class HookedDenoiser(DenoiserWrapper):
    """Base of denoisers that hook the attention layers or the blocks of `network` while `inner` calls it.

    A subclass overrides `attention` or `block`, which receive the noise level of the call; a run's step is
    `fastdiff.solvers.grids.step_at(grid, level)`. A subclass with memory overrides `fresh`, which clears it, and
    `sequential` if estimates depend on it. Each level is a call of its own, unless `same_at_all_levels`.
    """

    network: nn.Module

    @property
    def same_at_all_levels(self) -> bool:
        """True if the hooks depend neither on the level nor on the number of rows."""
        return False

    @property
    def batched(self) -> bool:
        return self.inner.batched and self.same_at_all_levels

    def attention(self, layer: AttentionLayer, processor: Processor, level: Level) -> Processor:
        """Return the processor of a layer at this level; the given one leaves attention unchanged."""
        return processor

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        """Return the forward function of a block at this level; the given one leaves the block unchanged."""
        return forward

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        with self._hooks(level):
            return self.inner(x, level)

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        if not self.batched:
            return [self(x, level) for x, level in zip(states, levels, strict=True)]
        with self._hooks(levels[0]):
            return self.inner.at_levels(states, levels)

    @contextmanager
    def _hooks(self, level: Level) -> Iterator[None]:
        with (
            hooked_attention(self._layers, lambda layer, processor: self.attention(layer, processor, level)),
            hooked_blocks(self._blocks, lambda block, forward: self.block(block, forward, level)),
        ):
            yield

    @cached_property
    def _layers(self) -> tuple[AttentionLayer, ...]:
        return attention_layers(self.network)

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        return blocks(self.network)


def _is_joint(module: "Attention | FluxAttention") -> bool:
    """True if the layer projects tokens of the prompt too, or receives one sequence of tokens and positions."""
    return bool(module.added_kv_proj_dim is not None or module.pre_only)


def _restore(module: nn.Module, own: Any) -> None:
    """Restore the forward function: of the class, or the module's own one if it had any."""
    if own is None:
        del module.forward
    else:
        module.forward = own  # type: ignore[method-assign]
