"""Losses on the attention of a UNet (DiffAttack, Chen et al. 2024, arXiv 2305.08192, sections 3.3 and 3.4).

Attention to the caption shall lie evenly over the picture, so that the model does not see what to repair; attention
within the picture shall stay what it was, so that its structure stays.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastdiff.models.attention import Processor, processors
from fastdiff.models.backbone import Prompts

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


@dataclass(frozen=True)
class Heard:
    """Attention written down in one run, in the order of its calls, as means over heads, of the conditional rows."""

    cross: tuple[Tensor, ...]  # (B, N, L) of places to words
    own: tuple[Tensor, ...]  # (B, N, N) of places to places

    def distraction(self, words: Tensor) -> Tensor:
        """(B,) variance over the picture of the attention to the words (B, L) that count, mean over calls."""
        maps = [(cross * words[:, None]).sum(2) / words.sum(1, keepdim=True).clamp(min=1) for cross in self.cross]
        return torch.stack([each.var(dim=1, correction=0) for each in maps]).mean(0)

    def distance(self, other: "Heard") -> Tensor:
        """(B,) mean square difference of attention within the picture."""
        pairs = zip(self.own, other.own, strict=True)
        return torch.stack([(mine - theirs).square().mean((1, 2)) for mine, theirs in pairs]).mean(0)

    def take(self, rows: Tensor) -> "Heard":
        """The same for some rows."""
        return Heard(tuple(each[rows] for each in self.cross), tuple(each[rows] for each in self.own))


@dataclass
class Listener:
    """Writes down attention while it is told to, of layers with few places: those at the coarsest level."""

    most: int  # places
    rows: int = 0  # conditional ones; 0 while nothing is written down
    cross: list[Tensor] = field(default_factory=list)
    own: list[Tensor] = field(default_factory=list)

    @contextmanager
    def writing(self, rows: int) -> Iterator[None]:
        """Write down what the last `rows` rows of each call attend to."""
        self.rows, self.cross, self.own = rows, [], []
        try:
            yield
        finally:
            self.rows = 0

    def heard(self) -> Heard:
        return Heard(tuple(self.cross), tuple(self.own))


@contextmanager
def listening(network: nn.Module, most: int) -> Iterator[Listener]:
    """The network's attention can be written down inside; calls on the way back, inside too, are not."""
    listener = Listener(most)

    def writing(name: str, original: Processor) -> Writing:
        return Writing(original, ".attn2." in name, "mid_block" in name, listener)

    with processors(network, writing):
        yield listener


@dataclass(frozen=True)
class Writing:
    """A processor that does what the original does, and writes down."""

    original: Processor
    crosses: bool
    middle: bool
    listener: Listener

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if not self.middle and hidden_states.shape[1] <= self.listener.most:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k = attn.head_to_batch_dim(attn.to_q(hidden_states)), attn.head_to_batch_dim(attn.to_k(context))
            maps = attn.get_attention_scores(q, k).unflatten(0, (-1, attn.heads)).mean(1)
            if rows := self.listener.rows:
                (self.listener.cross if self.crosses else self.listener.own).append(maps[-rows:])
        return self.original(attn, hidden_states, encoder_hidden_states, attention_mask)


@dataclass(frozen=True, eq=False)
class Attending:
    """Both losses, weighted, as a `Penalty`."""

    listener: Listener
    clean: Heard  # of the unperturbed run
    words: Tensor  # (B, L)
    distraction: float
    structure: float

    def watching(self) -> AbstractContextManager[None]:
        return self.listener.writing(len(self.words))

    def value(self) -> Tensor:
        heard = self.listener.heard()
        return self.distraction * heard.distraction(self.words) + self.structure * heard.distance(self.clean)

    def take(self, rows: Tensor) -> "Attending":
        """The same for some rows."""
        return replace(self, clean=self.clean.take(rows), words=self.words[rows])


def caption_tokens(prompts: Prompts) -> Tensor:
    """(B, L), 1 at the tokens of the captions' words."""
    tokens = torch.zeros(prompts.embeddings.shape[:2], device=prompts.embeddings.device)
    for row, words in enumerate(prompts.words):
        tokens[row, _positions([word.tokens for word in words])] = 1
    return tokens


def _positions(words: Sequence[Sequence[int]]) -> list[int]:
    return sorted({token for tokens in words for token in tokens})
