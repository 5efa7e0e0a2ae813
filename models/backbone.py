"""The contract between applications and diffusion networks: pictures, prompts and denoising in latents of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from fastdiff.models.scheduler_config import TrainedScheduler
from fastdiff.solvers.denoiser import Denoiser


@dataclass(frozen=True)
class Word:
    """A word of a prompt, without the punctuation around it."""

    text: str  # as the text encoder reads it: lower case
    tokens: tuple[int, ...]  # positions in the token sequence, rising
    known: bool = True  # whether the tokenizer has tokens for all of its letters


@dataclass(frozen=True)
class Prompts:
    """Prompts as a text encoder understands them, one a row."""

    embeddings: Tensor  # (B, L, D)
    mask: Tensor  # (B, L) bool, True where a token counts
    ids: tuple[tuple[int, ...], ...]  # of the tokens that count
    words: tuple[tuple[Word, ...], ...]  # of every prompt, in reading order
    cut: tuple[str, ...]  # the words of every prompt that did not fit, "" where all did
    pooled: Tensor | None = None  # (B, P) of every prompt as a whole, where a network wants that

    def take(self, rows: Sequence[int]) -> "Prompts":
        """Those of some rows."""
        return Prompts(
            self.embeddings[list(rows)],
            self.mask[list(rows)],
            tuple(self.ids[row] for row in rows),
            tuple(self.words[row] for row in rows),
            tuple(self.cut[row] for row in rows),
            None if self.pooled is None else self.pooled[list(rows)],
        )


Focus = Callable[[Tensor], Tensor]  # guidance, conditional - unconditional (B, C, h, w), to the share that counts


class Prior(Protocol):
    """A denoising network with its autoencoder and the schedule that it was trained on."""

    @property
    def name(self) -> str: ...  # as a person gave it
    @property
    def trained(self) -> TrainedScheduler: ...
    @property
    def side(self) -> int: ...  # pixels of the square pictures that it was trained on
    @property
    def multiple(self) -> int: ...  # of which both sides of a picture are multiples, pixels
    @property
    def hears(self) -> bool: ...  # whether prompts mean anything to it
    @property
    def network(self) -> nn.Module: ...  # that denoises

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to latents (B, C, h, w), float32. Raises UsageError for sides that do not
        fit."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures (B, 3, H, W), float32, not clamped."""
        ...

    def read(self, texts: Sequence[str]) -> Prompts:
        """The prompts, one a text; "" is a prompt that says nothing."""
        ...

    def denoiser(
        self,
        prompts: Prompts,
        guidance: float | Sequence[float],
        size: tuple[int, int],
        against: Prompts | None = None,
        focus: Focus | None = None,
    ) -> Denoiser:
        """A denoiser of latents (B, C, h, w) with a row for every prompt.

        `guidance` is the scale w of classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598), unconditional +
        w * (conditional - unconditional), for all rows or one a row; `size` is the (height, width) of the pictures in
        pixels. `against` is a prompt of one row that takes the place of no prompt in the unconditional part. Where any
        scale differs from 1, the network is called once on 2 B rows, first the B unconditional ones, then B with their
        prompts, and guidance counts as far as `focus` says, (B, 1, h, w) in [0, 1]; otherwise on the B rows with
        prompts alone. Raises UsageError for scales that are not B.
        """
        ...


class Backbone(Prior, Protocol):
    """A prior that is a transformer, whose attention editing controls."""

    def token_grid(self, latents: Tensor) -> tuple[int, int]:
        """Rows and columns of the tokens that the transformer makes of latents (B, C, h, w)."""
        ...
