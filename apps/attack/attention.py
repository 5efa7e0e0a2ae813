"""Losses on the attention of a UNet (DiffAttack, Chen et al. 2024, arXiv 2305.08192, sections 3.3 and 3.4).

One loss spreads the attention to the caption evenly over the picture, so that the model does not repair the change.
The other keeps self-attention unchanged, which preserves the picture's structure.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.hooks import AttentionLayer, Processor, attention_layers, hooked_attention

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


@dataclass(frozen=True)
class RecordedAttention:
    """Attention maps recorded in one run, in the order of the calls: means over heads, of the conditional rows."""

    cross: tuple[Tensor, ...]  # (B, N, L) from positions to tokens
    own: tuple[Tensor, ...]  # (B, N, N) between positions

    def distraction(self, words: Tensor) -> Tensor:
        """Return (B,): the variance over positions of the attention to the words (B, L), mean over calls."""
        maps = [(cross * words[:, None]).sum(2) / words.sum(1, keepdim=True).clamp(min=1) for cross in self.cross]
        return torch.stack([each.var(dim=1, correction=0) for each in maps]).mean(0)

    def distance(self, other: "RecordedAttention") -> Tensor:
        """Return (B,): the mean squared difference of self-attention."""
        pairs = zip(self.own, other.own, strict=True)
        return torch.stack([(mine - theirs).square().mean((1, 2)) for mine, theirs in pairs]).mean(0)

    def take(self, rows: Tensor) -> "RecordedAttention":
        """Return the maps of some rows."""
        return RecordedAttention(tuple(each[rows] for each in self.cross), tuple(each[rows] for each in self.own))


@dataclass
class AttentionRecorder:
    """Records attention maps inside `recording`, of layers with at most `most` positions: the coarsest level."""

    most: int
    rows: int = 0  # conditional ones; 0 outside `recording`
    cross: list[Tensor] = field(default_factory=list)
    own: list[Tensor] = field(default_factory=list)

    @contextmanager
    def recording(self, rows: int) -> Iterator[None]:
        """Record the attention of the last `rows` rows of each call."""
        self.rows, self.cross, self.own = rows, [], []
        try:
            yield
        finally:
            self.rows = 0

    def recorded(self) -> RecordedAttention:
        return RecordedAttention(tuple(self.cross), tuple(self.own))


@contextmanager
def recording_attention(network: nn.Module, most: int) -> Iterator[AttentionRecorder]:
    """Yield a recorder for the network's attention; calls in the backward pass are not recorded."""
    recorder = AttentionRecorder(most)

    def writing(layer: AttentionLayer, original: Processor) -> Processor:
        if layer.joint or "mid_block" in layer.name:
            return original
        return RecordingProcessor(original, layer.cross, recorder)

    with hooked_attention(attention_layers(network), writing):
        yield recorder


@dataclass(frozen=True)
class RecordingProcessor:
    """A processor that calls the original and records its attention maps."""

    original: Processor
    cross: bool
    recorder: AttentionRecorder

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if hidden_states.shape[1] <= self.recorder.most:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k = attn.head_to_batch_dim(attn.to_q(hidden_states)), attn.head_to_batch_dim(attn.to_k(context))
            maps = attn.get_attention_scores(q, k).unflatten(0, (-1, attn.heads)).mean(1)
            if rows := self.recorder.rows:
                (self.recorder.cross if self.cross else self.recorder.own).append(maps[-rows:])
        attended: Tensor = self.original(attn, hidden_states, encoder_hidden_states, attention_mask)
        return attended


@dataclass(frozen=True, eq=False)
class AttentionLosses:
    """The weighted sum of both losses, a `Penalty`."""

    recorder: AttentionRecorder
    clean: RecordedAttention  # of the unperturbed run
    words: Tensor  # (B, L)
    distraction: float
    structure: float

    def watching(self) -> AbstractContextManager[None]:
        return self.recorder.recording(len(self.words))

    def value(self) -> Tensor:
        recorded = self.recorder.recorded()
        return self.distraction * recorded.distraction(self.words) + self.structure * recorded.distance(self.clean)

    def take(self, rows: Tensor) -> "AttentionLosses":
        """Return the losses of some rows."""
        return replace(self, clean=self.clean.take(rows), words=self.words[rows])


def caption_tokens(prompts: Conditioning) -> Tensor:
    """Return (B, L): 1 at the tokens of the captions' words, else 0."""
    tokens = torch.zeros(prompts.embeddings.shape[:2], device=prompts.embeddings.device)
    for row, words in enumerate(prompts.words):
        tokens[row, _positions([word.tokens for word in words])] = 1
    return tokens


def _positions(words: Sequence[Sequence[int]]) -> list[int]:
    return sorted({token for tokens in words for token in tokens})
