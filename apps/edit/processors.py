"""Attention processors that apply the rules of a control."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu, scaled_dot_product_attention

from fastdiff.apps.edit.control import AttentionMaps, Control, TrackedWords
from fastdiff.apps.edit.span import Shared
from fastdiff.apps.edit.token_merging import merge, unmerge
from fastdiff.models.hooks import Processor

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

SMALL = 1e-15  # added to a sum of weights, which may be 0


def compile_around_attention(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the network except its attention, which controllers change at every step: no step recompiles."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_flux import FluxAttention

    for module in network.modules():
        if isinstance(module, Attention | FluxAttention):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    network.compile(backend=backend, dynamic=True)


@dataclass(frozen=True)
class SelfProcessor:
    """Self-attention: merges tokens, shares with the source, and restores the number of tokens."""

    original: Processor
    control: Control
    shared: Shared | None

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        merging = self.control.merging
        tokens = merge(hidden_states, merging) if merging else hidden_states
        if self.shared:
            attended = self._shared(attn, self.control.parted(tokens), self.shared)
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
        q, k, v = (attn.head_to_batch_dim(x.flatten(0, 1), out_dim=4) for x in (*_normalized(attn, q, k), v))
        return _out(attn, linear_attention(q, k, v) if self._is_linear else scaled_dot_product_attention(q, k, v))

    @property
    def _is_linear(self) -> bool:
        from diffusers.models.attention_processor import SanaLinearAttnProcessor2_0

        return isinstance(self.original, SanaLinearAttnProcessor2_0)


@dataclass(frozen=True)
class CrossProcessor:
    """Cross-attention with explicit maps, which a rule changes, or records, or both."""

    original: Processor
    control: Control
    change: Callable[[Tensor], Tensor] | None  # of all rows' attention to their prompts, (rows, heads, N, L)
    tracked: TrackedWords | None
    maps: AttentionMaps

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        tracked = self.tracked
        if tracked is not None and tracked.positions != hidden_states.shape[1]:
            tracked = None
        if self.change is None and tracked is None:
            plain: Tensor = self.original(attn, hidden_states, encoder_hidden_states, attention_mask)
            return plain
        q, k, v = (
            attn.head_to_batch_dim(x)
            for x in (
                *_normalized(attn, attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)),
                attn.to_v(encoder_hidden_states),
            )
        )
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, k.shape[1], len(hidden_states))
        probabilities = attn.get_attention_scores(q, k, mask)  # (B * heads, N, L)
        *without, prompted = self.control.parted(probabilities.unflatten(0, (-1, attn.heads)))
        if self.change:
            prompted = self.change(prompted)
        if tracked is not None:
            self.maps.add(prompted, tracked)
        attended = torch.cat([*without, prompted]) @ v.unflatten(0, (-1, attn.heads))
        return _out(attn, attended)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend by relu(q) (relu(k)^T v), (B, heads, N, d), divided by the sum of the weights (Sana, arXiv 2410.10629).

    Computes in float32: the sums over all tokens are large.
    """
    weights, sums = relu(q).float(), relu(k).float().mT @ pad(v.float(), (0, 1), value=1.0)
    attended = weights @ sums
    return (attended[..., :-1] / (attended[..., -1:] + SMALL)).to(q)


def _normalized(attn: "Attention", q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Normalize queries and keys (..., N, D) where the layer does."""
    return _normalize(attn.norm_q, q), _normalize(attn.norm_k, k)


def _normalize(norm: Any, x: Tensor) -> Tensor:
    """Normalize x (..., N, D) over all heads, or each head for itself where the norm is as wide as a head."""
    if norm is None:
        return x
    normalized: Tensor = norm(x.unflatten(-1, (-1, len(norm.weight)))).flatten(-2)
    return normalized


def _out(attn: "Attention", attended: Tensor) -> Tensor:
    """Project the attended values of all heads (B, heads, N, d) to (B, N, D)."""
    project, dropout = attn.to_out
    projected: Tensor = dropout(project(attended.transpose(1, 2).flatten(2)))
    return projected
