"""SpeedUpNet (Chai et al. 2023, arXiv 2312.08887): negative prompts and few steps without guidance, by an adapter.

Every cross-attention layer of a frozen network gets two more branches, one that attends to the negative prompt and one
that attends to the prompt. Their difference is added to what the layer attends to:

    P + E - N,  P = Attention(Q, K c, V c),  N = Attention(Q, K' c-, V' c-),  E = Attention(Q, K" c, V" c)

K', V', K" and V" are trained and begin as the layer's own K and V. N and E are scaled to the norm of P and pass a
trained scale and shift per channel. Norms are per sample and in float32; those of the authors' code are over the whole
batch, so that its samples depend on each other. Tokens of padding are masked in all three, which there N does not do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from fastdiff.models.hooks import AttentionLayer, attention_layers
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.rows import row_norms, row_values

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

SAMPLED = 64  # weights of a layer by which fine-tunes of a network are told from other networks
KINSHIP = 0.5  # correlation of these weights: fine-tunes have nearly 1, other networks nearly 0
TINY = 1e-12  # norm of an attended prompt, which may be 0


class Branch(nn.Module):
    """Attention of a layer's queries to one prompt, scaled to a norm."""

    def __init__(self, tokens: int, channels: int):
        super().__init__()
        self.to_k = nn.Linear(tokens, channels, bias=False)
        self.to_v = nn.Linear(tokens, channels, bias=False)
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, q: Tensor, prompt: Tensor, bias: Tensor | None, attended: Tensor) -> Tensor:
        """Attend q (B, heads, N, d) to a prompt (B, L, C), with the norm of every row of `attended` (B, N, D)."""
        own = attend(q, self.to_k(prompt), self.to_v(prompt), bias)
        ratio = row_norms(attended.float()) / row_norms(own.float()).clamp(min=TINY)
        return self.scale * (own * row_values(ratio, own)) + self.shift


class LayerAdapter(nn.Module):
    """The branches of one layer. Prompts have C = `tokens` channels, and what it attends to has D = `channels`."""

    def __init__(self, tokens: int, channels: int):
        super().__init__()
        self.negative, self.extra = Branch(tokens, channels), Branch(tokens, channels)

    def forward(self, attn: "Attention", x: Tensor, prompts: Tensor, bias: Tensor | None) -> Tensor:
        """Return the layer's output (B, N, D) for x (B, N, D).

        `prompts` (B, 2 L, C) are L tokens of the prompt, then L of the negative prompt, and `bias` (B, 1, 2 L) is added
        to the logits of attention.
        """
        prompt, negative = prompts.chunk(2, dim=1)
        bias, negative_bias = (None, None) if bias is None else bias[:, None].chunk(2, dim=-1)
        q = _heads(attn.to_q(x), attn.heads)
        attended = attend(q, attn.to_k(prompt), attn.to_v(prompt), bias)
        extra = self.extra(q, prompt, bias, attended)
        offset = extra - self.negative(q, negative, negative_bias, attended)
        project, dropout = attn.to_out
        out: Tensor = dropout(project(attended + offset.to(attended)))
        return out


@dataclass(frozen=True, eq=False)
class SpeedUpProcessor:
    """An attention processor of diffusers that applies the adapter of a layer."""

    adapter: LayerAdapter

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        out: Tensor = self.adapter(attn, hidden_states, encoder_hidden_states, attention_mask)
        return out


class SpeedUpNet(nn.Module):
    """The adapters of all cross-attention layers of a network, in the order of execution.

    `sizes` has the channels of prompts and of attention of every layer. `base` has sampled weights of the network that
    the adapter is trained for.
    """

    base: Tensor  # (layers, SAMPLED)

    def __init__(self, sizes: Sequence[tuple[int, int]]):
        super().__init__()
        self.layers = nn.ModuleList(LayerAdapter(*size) for size in sizes)
        self.register_buffer("base", torch.zeros(len(sizes), SAMPLED))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return tuple((int(weight.shape[1]), int(weight.shape[0])) for weight in self._keys)

    def processor(self, layer: AttentionLayer) -> SpeedUpProcessor:
        """Return the processor of a cross-attention layer."""
        adapter = self.layers[layer.index]
        assert isinstance(adapter, LayerAdapter)
        return SpeedUpProcessor(adapter)

    def check_network(self, network: nn.Module) -> None:
        """Raise UsageError unless the adapter was trained for this network or one of which it is a fine-tune."""
        keys = _key_weights(network)
        kind = type(network).__name__
        if tuple((key.shape[1], key.shape[0]) for key in keys) != self.sizes:
            raise UsageError(f"the SpeedUpNet does not fit this {kind}: it has other cross-attention layers")
        kinship = cosine_similarity(self.base.flatten().to(keys[0].device), _sample(keys).flatten(), dim=0).item()
        if not kinship >= KINSHIP:
            raise UsageError(
                f"the SpeedUpNet was trained for another network than this {kind}, whose weights correlate by "
                f"{kinship:.2f} with those of its own: give it that network or a fine-tune of it"
            )

    @property
    def _keys(self) -> list[Tensor]:
        return [layer.negative.to_k.weight for layer in self.layers if isinstance(layer, LayerAdapter)]


def begin_speedup(network: nn.Module) -> SpeedUpNet:
    """Return an adapter to train for a network, float32: all branches are copies of its own cross-attention.

    Where the negative prompt equals the prompt it changes nothing. Raises UsageError for a network without
    cross-attention.
    """
    keys = _key_weights(network)
    adapter = SpeedUpNet([(key.shape[1], key.shape[0]) for key in keys]).to(keys[0].device)
    own = {"base": _sample(keys)}
    for layer in _cross_attention(network):
        for branch in ("negative", "extra"):
            own[f"layers.{layer.index}.{branch}.to_k.weight"] = layer.module.to_k.weight.detach()
            own[f"layers.{layer.index}.{branch}.to_v.weight"] = layer.module.to_v.weight.detach()
    adapter.load_state_dict(own, strict=False)
    return adapter


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attend q (B, heads, N, d) to keys and values (B, L, D), with a bias (B, 1, 1, L) of the logits, to (B, N, D)."""
    heads = q.shape[1]
    attended = scaled_dot_product_attention(q, _heads(k, heads), _heads(v, heads), bias)
    return attended.transpose(1, 2).flatten(2)


def _heads(x: Tensor, heads: int) -> Tensor:
    """Split the channels of x (B, N, D) into heads, (B, heads, N, d)."""
    split: Tensor = x.unflatten(2, (heads, -1))
    return split.transpose(1, 2)


def _cross_attention(network: nn.Module) -> tuple[AttentionLayer, ...]:
    layers = tuple(layer for layer in attention_layers(network) if layer.cross)
    if not layers:
        raise UsageError(f"a {type(network).__name__} has no cross-attention: a SpeedUpNet needs it")
    return layers


def _key_weights(network: nn.Module) -> list[Tensor]:
    return [layer.module.to_k.weight.detach() for layer in _cross_attention(network)]


def _sample(keys: Sequence[Tensor]) -> Tensor:
    """Return SAMPLED weights of every layer, at equal distances, (layers, SAMPLED)."""
    places = [torch.linspace(0, key.numel() - 1, SAMPLED).long() for key in keys]
    return torch.stack([key.flatten()[place.to(key.device)].float() for key, place in zip(keys, places, strict=True)])
