"""Attention control of networks with joint attention: positions of the picture and tokens of the prompt in one softmax.

The layers are those of MM-DiT (Esser et al. 2024, arXiv 2403.03206), Stable Diffusion 3 and FLUX. The map of a layer
has four parts: from picture or prompt, to picture or prompt. Rules change the two parts from the picture; tokens of the
prompt attend as they did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fastdiff.apps.edit.control import AttentionMaps, Control, TrackedWords
from fastdiff.apps.edit.span import Shared

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_flux import FluxAttention

COLUMNS = 8  # of extra values: fused attention takes widths that are multiples of it

Rotary = tuple[Tensor, Tensor]  # cosines and sines of the rotation of every token, (N, d) each


class Heads(NamedTuple):
    """Queries, keys and values of all heads, (B, heads, N, d) each."""

    q: Tensor
    k: Tensor
    v: Tensor


class Projections(NamedTuple):
    """The layers that project tokens to queries, keys and values, and the norms of the first two, which may be None."""

    to_q: Any
    to_k: Any
    to_v: Any
    norm_q: Any
    norm_k: Any


@dataclass(frozen=True)
class JointProcessor:
    """Joint attention whose positions share with the source, or whose attention to the prompt a rule changes."""

    control: Control
    shared: Shared | None
    change: Callable[[Tensor], Tensor] | None  # of all rows' attention to their prompts, (rows, heads, N, L)
    tracked: TrackedWords | None
    maps: AttentionMaps

    def __call__(
        self,
        attn: "Attention | FluxAttention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
    ) -> Any:
        """Return picture and prompt as they came: two sequences, or one with the prompt first."""
        if encoder_hidden_states is None:
            prompt, picture = hidden_states.tensor_split([self.control.prompt_tokens], dim=1)
            return torch.cat(self._attended(attn, picture, prompt, _own(attn), image_rotary_emb)[::-1], dim=1)
        attended, to_prompt = self._attended(attn, hidden_states, encoder_hidden_states, _added(attn), image_rotary_emb)
        project, dropout = attn.to_out
        return dropout(project(attended)), to_prompt if attn.to_add_out is None else attn.to_add_out(to_prompt)

    def _attended(
        self,
        attn: "Attention | FluxAttention",
        picture: Tensor,
        prompt: Tensor,
        of_prompt: "Projections",
        rotary: Rotary | None,
    ) -> tuple[Tensor, Tensor]:
        """Attend the picture (B, N, D) and the prompt (B, L, D), whose layers are `of_prompt`, without projection."""
        length = prompt.shape[1]
        first, rest = (None, None) if rotary is None else _split(rotary, length)
        tokens = _heads(prompt, attn.heads, of_prompt, first)
        places = _heads(picture, attn.heads, _own(attn), rest)
        by_tokens = scaled_dot_product_attention(tokens.q, _join(places.k, tokens.k), _join(places.v, tokens.v))
        places = Heads(*(self._taken(name, value) for name, value in places._asdict().items()))
        return _flat(self._by_places(places, tokens)), _flat(by_tokens)

    def _taken(self, name: str, value: Tensor) -> Tensor:
        """Return the source's queries, keys or values (B, ...) for all rows if they are shared."""
        if self.shared is None or name not in self.shared:
            return value
        parted = self.control.parted(value)
        return parted[:, :1].expand_as(parted).flatten(0, 1)

    def _by_places(self, places: Heads, tokens: Heads) -> Tensor:
        """Attend from the picture to picture and prompt, (B, heads, N, d).

        The map to the prompt, (rows, heads, N, L), is computed of the conditional rows alone, and the one to the
        picture nowhere: it is softmax over the prompt, times the share of the attention that the prompt has.
        """
        keys, values = _join(places.k, tokens.k), _join(places.v, tokens.v)
        if self.change is None and self.tracked is None:
            return scaled_dot_product_attention(places.q, keys, values)
        is_prompt = torch.arange(keys.shape[2], device=keys.device) >= places.k.shape[2]
        marks = is_prompt.to(values)[:, None].expand(*values.shape[:3], COLUMNS)
        attended = scaled_dot_product_attention(places.q, keys, torch.cat([values, marks], dim=-1))
        attended, share = attended[..., :-COLUMNS], attended[..., -1:]
        q, k, v, share = (self.control.parted(each)[-1] for each in (places.q, tokens.k, tokens.v, share))
        maps = share * (q / q.shape[-1] ** 0.5 @ k.mT).softmax(dim=-1)  # sums may overflow float16 before division
        changed = maps if self.change is None else self.change(maps)
        if self.tracked is not None:
            self.maps.add(changed, self.tracked)
        if self.change is None:
            return attended
        *without, prompted = self.control.parted(attended)
        return torch.cat([*without, prompted + (changed - maps) @ v])


def _own(attn: "Attention | FluxAttention") -> Projections:
    """Return the projections of positions, and of all tokens where the layer gets one sequence."""
    return Projections(attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k)


def _added(attn: "Attention | FluxAttention") -> Projections:
    """Return the projections of tokens of the prompt."""
    return Projections(attn.add_q_proj, attn.add_k_proj, attn.add_v_proj, attn.norm_added_q, attn.norm_added_k)


def _heads(x: Tensor, heads: int, layers: Projections, rotary: Rotary | None) -> Heads:
    """Project x (B, N, D) for all heads, normalize queries and keys, and rotate them."""
    from diffusers.models.embeddings import apply_rotary_emb

    q, k, v = (layer(x).unflatten(2, (heads, -1)).transpose(1, 2) for layer in layers[:3])
    q, k = (each if norm is None else norm(each) for each, norm in ((q, layers.norm_q), (k, layers.norm_k)))
    if rotary is not None:
        turns: Any = rotary
        q, k = apply_rotary_emb(q, turns), apply_rotary_emb(k, turns)
    return Heads(q, k, v)


def _split(rotary: Rotary, length: int) -> tuple[Rotary, Rotary]:
    """Return the rotations of the first `length` tokens, and those of the others."""
    cos, sin = rotary
    return (cos[:length], sin[:length]), (cos[length:], sin[length:])


def _join(places: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([places, tokens], dim=2)


def _flat(attended: Tensor) -> Tensor:
    """Return values of all heads (B, heads, N, d) as (B, N, D)."""
    return attended.transpose(1, 2).flatten(2)
