"""Attention processors that apply a controller's rules to a PixArt transformer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fastdiff.apps.edit.control import Controller
from fastdiff.apps.edit.span import Shared
from fastdiff.apps.edit.token_merging import merge, unmerge
from fastdiff.models.attention import Processor, processors

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel


@contextmanager
def controlled(transformer: "PixArtTransformer2DModel", controller: Controller) -> Iterator[None]:
    """Apply the controller to the transformer's attention; the original processors return on exit."""
    with processors(transformer, lambda name, original: _wrapped(name, original, controller)):
        yield


def compile_around_attention(transformer: nn.Module, backend: str | Callable = "inductor") -> None:
    """Compile the transformer except its attention, which controllers change at every step: no step recompiles."""
    from diffusers.models.attention_processor import Attention

    for module in transformer.modules():
        if isinstance(module, Attention):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    transformer.compile(backend=backend, dynamic=True)


@dataclass(frozen=True)
class SelfProcessor:
    """Self-attention: merges tokens, shares with the source, and restores the number of tokens."""

    original: Processor
    block: int
    controller: Controller

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        shared, merging = self.controller.shared(self.block), self.controller.control.merging
        tokens = merge(hidden_states, merging) if merging else hidden_states
        if shared:
            attended = self._shared(attn, self.controller.parted(tokens), shared)
        else:
            attended = self.original(attn, tokens, encoder_hidden_states, attention_mask)
        return unmerge(attended, merging) if merging else attended

    def _shared(self, attn: "Attention", tokens: Tensor, shared: Shared) -> Tensor:
        """Attend tokens (halves, rows, n, D) to (halves * rows, n, D); the source's parts are computed once."""
        source = tokens[:, :1]

        def for_all(x: Tensor) -> Tensor:
            return x.expand(-1, tokens.shape[1], -1, -1)

        if shared == "qkv":
            return for_all(self.original(attn, source.flatten(0, 1)).unflatten(0, (-1, 1))).flatten(0, 1)
        layers = {"q": attn.to_q, "k": attn.to_k, "v": attn.to_v}
        q, k, v = (for_all(layer(source)) if name in shared else layer(tokens) for name, layer in layers.items())
        q, k, v = (attn.head_to_batch_dim(x.flatten(0, 1), out_dim=4) for x in (q, k, v))
        return _out(attn, scaled_dot_product_attention(q, k, v))


@dataclass(frozen=True)
class CrossProcessor:
    """Cross-attention: computes the maps explicitly where a rule changes or records them."""

    original: Processor
    block: int
    controller: Controller

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        cross_attention, tracks = self.controller.cross_attention(), self.controller.tracks(self.block)
        if cross_attention is None and not tracks:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask)
        q, k, v = (
            attn.head_to_batch_dim(x)
            for x in (attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states))
        )
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, k.shape[1], len(hidden_states))
        probabilities = attn.get_attention_scores(q, k, mask)  # (B * heads, N, L)
        *without, prompted = self.controller.parted(probabilities.unflatten(0, (-1, attn.heads)))
        if cross_attention:
            prompted = cross_attention(prompted)
        if tracks:
            self.controller.record(prompted)
        attended = torch.cat([*without, prompted]) @ v.unflatten(0, (-1, attn.heads))
        return _out(attn, attended)


def _wrapped(name: str, original: Processor, controller: Controller) -> SelfProcessor | CrossProcessor:
    """Return the processor for a name such as "transformer_blocks.3.attn1.processor"."""
    _, block, kind, _ = name.split(".")
    if kind == "attn1":
        return SelfProcessor(original, int(block), controller)
    return CrossProcessor(original, int(block), controller)


def _out(attn: "Attention", attended: Tensor) -> Tensor:
    """Project the attended values of all heads (B, heads, N, d) to (B, N, D)."""
    project, dropout = attn.to_out
    return dropout(project(attended.transpose(1, 2).flatten(2)))
