"""Rendered scenes and their captions as examples for distilling the bundled backbone."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.models.pixart import PixArt
from fastdiff.training.edit.dataset import LatentCache, SceneEncoder
from fastdiff.training.fit import Batch

HELD_OUT = 64  # scenes of pairs that never train
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class SceneExamples:
    """The `Examples` of scenes. Encoded scenes are kept in `folder`."""

    model: PixArt
    font: Path
    folder: Path
    batch: int
    seed: int

    @property
    def description(self) -> str:
        return "rendered scenes of Noto Color Emoji (OFL-1.1) and their captions"

    def batches(self, first: int) -> Iterator[Batch]:
        encoder = self._encoder((self.seed, first))
        shape = self.model.encode(torch.zeros(1, 3, self.model.resolution, self.model.resolution)).shape[1:]
        for latents, tokens in LatentCache(self.folder, encoder, tuple(shape)).batches(self.batch):
            yield self._encoded(latents, tokens)

    def held_out(self) -> Batch:
        latents, tokens, _ = self._encoder((self.seed + HELD_OUT_SEED,))(HELD_OUT, held=True)
        return self._encoded(latents, tokens)

    def _encoder(self, seed: tuple[int, ...]) -> SceneEncoder:
        codec = deepcopy(self.model.vae).to("cpu")  # where scenes are drawn
        return SceneEncoder(self.font, codec, self.model.tokenizer, seed)

    @torch.no_grad()
    def _encoded(self, latents: Tensor, tokens: Tensor) -> Batch:
        mask = tokens != 0
        embeddings = self.model.text_encoder(tokens.to(self.model.device), attention_mask=mask.to(self.model.device))
        return latents, embeddings.last_hidden_state.float(), mask
