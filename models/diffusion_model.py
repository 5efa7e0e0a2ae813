"""The contract between applications and diffusion models: autoencoder, prompt encoder, network and schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from fastdiff.models.scheduler_config import TrainedScheduler
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.guidance import ConditionalDenoiser

PADDING = -1  # in place of the id of a padding token between the tokens of two text encoders


@dataclass(frozen=True)
class Word:
    """A word of a prompt, without the punctuation around it."""

    text: str  # as the text encoder reads it: lower case
    tokens: tuple[int, ...]  # positions in the token sequence, rising
    known: bool = True  # whether the tokenizer has tokens for all of its letters


GuidanceKind = Literal["classifier-free", "embedded", "none"]


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of a network: encoded prompts, one per row."""

    embeddings: Tensor  # (B, L, D)
    mask: Tensor  # (B, L) bool, True where the network attends to a token
    ids: tuple[tuple[int, ...], ...]  # of the tokens of every prompt by position, without padding at the end
    words: tuple[tuple[Word, ...], ...]  # of every prompt, in reading order
    truncated: tuple[str, ...]  # the words of every prompt beyond the token limit, "" if none are
    pooled: Tensor | None = None  # (B, P) pooled embedding of every prompt, for networks that take it
    guidance: Tensor | None = None  # (B,) guidance scales, for networks that take them as an input
    starts: tuple[int, ...] = (0,)  # position of the first token of each text encoder whose tokens the L are

    def __len__(self) -> int:
        return len(self.mask)

    def take(self, rows: Sequence[int]) -> "Conditioning":
        """Return the given rows in the given order; a row may be repeated."""
        chosen = list(rows)
        return Conditioning(
            self.embeddings[chosen],
            self.mask[chosen],
            tuple(self.ids[row] for row in chosen),
            tuple(self.words[row] for row in chosen),
            tuple(self.truncated[row] for row in chosen),
            None if self.pooled is None else self.pooled[chosen],
            None if self.guidance is None else self.guidance[chosen],
            self.starts,
        )

    def repeat(self, times: int) -> "Conditioning":
        """Return all B rows `times` times, (times * B, ...)."""
        return self if times == 1 else self.take([*range(len(self))] * times)

    @staticmethod
    def cat(*parts: "Conditioning") -> "Conditioning":
        """Concatenate the rows of all parts.

        Raises UsageError if some parts have a pooled embedding or guidance scales and others do not.
        """
        return Conditioning(
            torch.cat([part.embeddings for part in parts]),
            torch.cat([part.mask for part in parts]),
            tuple(ids for part in parts for ids in part.ids),
            tuple(words for part in parts for words in part.words),
            tuple(cut for part in parts for cut in part.truncated),
            _cat([part.pooled for part in parts]),
            _cat([part.guidance for part in parts]),
            parts[0].starts,
        )


class DiffusionModel(Protocol):
    """A denoising network with its autoencoder, its prompt encoder and its noise schedule."""

    @property
    def name(self) -> str: ...  # as a person gave it
    @property
    def trained(self) -> TrainedScheduler: ...  # at its own side
    @property
    def resolution(self) -> int: ...  # pixels of the square pictures that it was trained on
    @property
    def size_multiple(self) -> int: ...  # of which both sides of a picture are multiples, pixels
    @property
    def text_conditioned(self) -> bool: ...  # whether prompts mean anything to it
    @property
    def network(self) -> nn.Module: ...  # that denoises
    @property
    def guidance_kind(self) -> GuidanceKind: ...  # how a guidance scale reaches it
    @property
    def empty_prompt(self) -> Conditioning: ...  # of one row

    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures (B, 3, H, W) in [-1, 1] to latents (B, C, h, w), float32.

        Raises UsageError for sides that are no multiples of `size_multiple`.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to pictures (B, 3, H, W), float32, not clamped."""
        ...

    def encode_prompts(self, texts: Sequence[str]) -> Conditioning:
        """The prompts, one a text; "" is a prompt that says nothing."""
        ...

    def scheduler(self, size: tuple[int, int]) -> TrainedScheduler:
        """The schedule for pictures of `size` pixels (height, width)."""
        ...

    def bind(
        self, prompts: Conditioning, size: tuple[int, int], unconditional: Conditioning | None = None
    ) -> ConditionalDenoiser:
        """The network on latents (B, C, h, w) of pictures of `size` pixels (height, width), a row for every prompt.

        Pairs of estimates need `unconditional`, prompts of one row or B.
        """
        ...


AttentionControl = Literal["cross-attention control", "self-attention control", "word maps", "token merging"]
ALL_CONTROLS: frozenset[AttentionControl] = frozenset(get_args(AttentionControl))


class EditableModel(DiffusionModel, Protocol):
    """A text-conditioned model. Editing controls its attention as far as CONTROLS of its family goes.

    A family without word maps needs no `map_grid`, one without token merging no `embed`.
    """

    def encode_negative_prompts(self, texts: Sequence[str]) -> Conditioning:
        """Encode prompts from which guidance leads away, one per text, as the family's pipeline does."""
        ...

    def map_grid(self, latents: Tensor) -> tuple[int, int]:
        """Return the rows and columns of the recorded cross-attention maps, for latents (B, C, h, w)."""
        ...

    def embed(self, latents: Tensor) -> Tensor:
        """Embed latents (B, C, h, w) as tokens (B, N, D), N those of `map_grid`; token merging compares them."""
        ...


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    if given and len(given) < len(parts):
        raise UsageError("prompts of different models cannot share a batch")
    return torch.cat(given) if given else None
