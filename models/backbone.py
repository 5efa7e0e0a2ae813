"""The contract between editing and a text-to-image network: pictures, prompts and denoising in its own latents."""

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


@dataclass(frozen=True)
class Prompts:
    """Prompts as a text encoder understands them, one a row."""

    embeddings: Tensor  # (B, L, D)
    mask: Tensor  # (B, L) bool, True where a token counts
    ids: tuple[tuple[int, ...], ...]  # of the tokens that count
    words: tuple[tuple[Word, ...], ...]  # of every prompt, in reading order
    cut: tuple[str, ...]  # the words of every prompt that did not fit, "" where all did


Focus = Callable[[Tensor], Tensor]  # guidance, conditional - unconditional (B, C, h, w), to the share that counts


class Backbone(Protocol):
    """A denoising network with its autoencoder, its text encoder and the schedule that it was trained on."""

    @property
    def name(self) -> str: ...  # as a person gave it
    @property
    def trained(self) -> TrainedScheduler: ...
    @property
    def side(self) -> int: ...  # pixels of the square pictures that it was trained on
    @property
    def multiple(self) -> int: ...  # of which both sides of a picture are multiples, pixels
    @property
    def transformer(self) -> nn.Module: ...  # where attention is controlled

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

    def token_grid(self, latents: Tensor) -> tuple[int, int]:
        """Rows and columns of the tokens that the transformer makes of latents (B, C, h, w)."""
        ...
