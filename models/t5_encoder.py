"""The encoder of T5 (Raffel et al. 2020, arXiv 1910.10683; Shazeer 2020, arXiv 2002.05202), from its safetensors.

The class of transformers gives the same numbers, but takes two seconds to import. Modules have the names of the
weights in published checkpoints.
"""

import math
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from fastdiff.models.diffusers_folder import read_weights
from fastdiff.models.json_file import read_object
from fastdiff.models.meta_network import shapes_alone
from fastdiff.solvers.errors import UsageError

GATED, PLAIN = "gated-gelu", "relu"  # feed-forward projections, of version 1.1 and 1.0
TIED = "encoder.embed_tokens.weight"  # the embedding, under its second name


@dataclass(frozen=True)
class T5Config:
    """The sizes of an encoder, by their names in config.json."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = PLAIN

    @classmethod
    def read(cls, folder: Path) -> "T5Config":
        """Read `folder`/config.json. Raises UsageError for a config of another kind of encoder."""
        config, names = read_object(folder / "config.json"), [each.name for each in fields(cls)]
        try:
            sizes = cls(**{name: config[name] for name in names if name in config})
        except TypeError as error:
            raise UsageError(f"{folder / 'config.json'} is not the config of a T5 encoder") from error
        if sizes.feed_forward_proj not in (GATED, PLAIN):
            raise UsageError(f"feed_forward_proj {sizes.feed_forward_proj} of {folder}: {GATED} and {PLAIN} are read")
        return sizes


class T5Encoder(nn.Module):
    """Tokens (B, L) to states (B, L, D)."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config, self.shared)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L), and the mask (B, L) bool, True where a token counts, to states (B, L, D)."""
        return self.encoder(tokens, mask)

    @classmethod
    def read(cls, folder: Path, dtype: torch.dtype) -> "T5Encoder":
        """The encoder in `dtype`, from config.json and the safetensors of a folder.

        In float16 the last projection of every block stays in float32, as it overflows. Raises UsageError for weights
        that are not those of the config.
        """
        with shapes_alone():
            network = cls(T5Config.read(folder))
        missing = set(network.state_dict()) - {TIED}
        with ExitStack() as stack:
            weights: dict[str, Tensor] = {}
            for path in read_weights(folder).files:
                file = stack.enter_context(safe_open(path, "pt"))
                weights |= {name: file.get_tensor(name) for name in file.keys() if name in missing}  # noqa: SIM118
        if lacking := missing - set(weights):
            raise UsageError(f"the weights in {folder} lack {min(lacking)}")
        typed = {name: value.to(_dtype_of(name, dtype)) for name, value in weights.items()}
        try:
            network.load_state_dict(typed | {TIED: typed["shared.weight"]}, assign=True)
        except RuntimeError as error:
            raise UsageError(f"the weights in {folder} are not those of its config.json") from error
        network.encoder.embed_tokens = network.shared
        return network


class _Stack(nn.Module):
    def __init__(self, config: T5Config, embedding: nn.Embedding):
        super().__init__()
        self.config, self.embed_tokens = config, embedding
        self.block = nn.ModuleList(_Block(config, first=number == 0) for number in range(config.num_layers))
        self.final_layer_norm = _Norm(config)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)  # (B, L, D)
        first: Any = self.block[0]
        table = first.layer[0].SelfAttention.relative_attention_bias
        bias = table(_buckets(tokens.shape[1], self.config, x.device)).movedim(-1, 0)  # (heads, L, L)
        bias = bias.to(x.dtype).masked_fill(~mask[:, None, None], torch.finfo(x.dtype).min)  # (B, heads, L, L)
        for block in self.block:
            x = block(x, bias)
        return self.final_layer_norm(x)


class _Block(nn.Module):
    def __init__(self, config: T5Config, first: bool):
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(config, first), _FeedForwardLayer(config)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.layer[1](self.layer[0](x, bias))


class _AttentionLayer(nn.Module):
    def __init__(self, config: T5Config, first: bool):
        super().__init__()
        self.SelfAttention = _Attention(config, first)
        self.layer_norm = _Norm(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), bias)


class _Attention(nn.Module):
    def __init__(self, config: T5Config, first: bool):
        super().__init__()
        self.heads, width = config.num_heads, config.num_heads * config.d_kv
        self.q, self.k, self.v = (nn.Linear(config.d_model, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, config.d_model, bias=False)
        if first:  # the other blocks share it
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)  # (B, heads, L, d)
        return self.o(attended.transpose(1, 2).flatten(2))


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: T5Config):
        super().__init__()
        self.DenseReluDense = _FeedForward(config)
        self.layer_norm = _Norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class _FeedForward(nn.Module):
    def __init__(self, config: T5Config):
        super().__init__()
        self.gated = config.feed_forward_proj == GATED
        if self.gated:
            self.wi_0, self.wi_1 = (nn.Linear(config.d_model, config.d_ff, bias=False) for _ in range(2))
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x) if self.gated else F.relu(self.wi(x))
        return self.wo(hidden.to(self.wo.weight.dtype))


class _Norm(nn.Module):
    """x / root mean square, in float32, times a weight."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * (x * scale).to(self.weight.dtype)


def _buckets(length: int, config: T5Config, device: torch.device) -> Tensor:
    """The bucket of the distance from each of L tokens to each, (L, L): exact when near, logarithmic when far."""
    position = torch.arange(length, device=device)
    distance = position - position[:, None]
    half = config.relative_attention_num_buckets // 2
    exact = half // 2
    away = distance.abs()
    share = torch.log(away.clamp(min=1).float() / exact) / math.log(config.relative_attention_max_distance / exact)
    far = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return (distance > 0) * half + torch.where(away < exact, away, far)


def _dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype == torch.float16 and name.endswith(".wo.weight") else dtype
