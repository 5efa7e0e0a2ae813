"""Scenes as tensors, and a cache of encoded scenes with tokens of their captions."""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.training.edit.backbone import LONGEST
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import draw
from fastdiff.training.fit import Batch
from fastdiff.training.velocity import encode

NO_CAPTION = 0.1  # share of scenes with an empty caption: the unconditional estimate of guidance
CONCEPT_ONLY = 0.15  # share of scenes whose caption is the concept alone
CACHE_BYTES = 400_000_000
REUSE = 4  # batches that an encoded scene is in, in the mean
ALL_NEW = 64  # batches of new scenes before any is reused


class SceneEncoder:
    """Renders random scenes and encodes them."""

    def __init__(
        self, font: Path, codec: PatchCodec | ConvCodec, tokenizer: PreTrainedTokenizerFast, seed: tuple[int, ...]
    ):
        cv2.setNumThreads(1)
        self.renderer, self.codec, self.tokenizer = Renderer(font), codec, tokenizer
        self.rng = np.random.default_rng(seed)

    def __call__(self, count: int, spread: float = 1.0, held: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (count, C, h, w), tokens of captions (count, LONGEST), and how many tokens name the concept (count,).

        `spread` is the range of poses, of pairs that are held out or of all others.
        """
        scenes = [draw(self.rng, spread, held) for _ in range(count)]
        pictures = torch.stack([as_tensor(self.renderer.picture(scene)) for scene in scenes])
        tokens = torch.stack([self._tokens(scene.caption) for scene in scenes])
        lengths = torch.tensor([len(scene.concept.split()) for scene in scenes])
        return encode(self.codec, pictures), tokens, lengths

    def _tokens(self, caption: str) -> Tensor:
        return self.tokenizer(caption, padding="max_length", max_length=LONGEST, return_tensors="pt").input_ids[0]


class LatentCache:
    """Encoded scenes in a folder. Most of every batch comes from there: rendering and encoding take time.

    A full cache replaces random scenes by new ones. Raises ValueError for a folder with latents of other sizes.
    """

    def __init__(self, folder: Path, encoder: SceneEncoder, shape: tuple[int, ...]):
        self.encoder, self.end = encoder, encoder.tokenizer.eos_token_id
        folder.mkdir(parents=True, exist_ok=True)
        capacity = CACHE_BYTES // (2 * math.prod(shape))
        self.latents = _stored(folder / "latents.npy", np.float16, (capacity, *shape))
        self.tokens = _stored(folder / "tokens.npy", np.int16, (capacity, LONGEST))
        self.lengths = _stored(folder / "lengths.npy", np.int8, (capacity,))
        self.count = int((self.lengths > 0).sum())

    def batches(self, size: int, widening: int = 0) -> Iterator[Batch]:
        """Latents (size, C, h, w) and tokens (size, LONGEST), without end.

        The range of poses grows until the cache holds `widening` scenes.
        """
        rng = self.encoder.rng
        while True:
            new = size if self.count < ALL_NEW * size else math.ceil(size / REUSE)
            spread = 1.0 if self.count >= widening else 0.2 + 0.8 * self.count / widening
            places = np.append(self._add(*self.encoder(new, spread)), rng.integers(self.count, size=size - new))
            latents = torch.from_numpy(self.latents[places]).float()
            tokens, lengths = (torch.from_numpy(stored[places]).long() for stored in (self.tokens, self.lengths))
            yield latents, shortened(tokens, lengths, torch.from_numpy(rng.random(size)), self.end)

    def _add(self, latents: Tensor, tokens: Tensor, lengths: Tensor) -> np.ndarray:
        capacity, new = len(self.latents), len(latents)
        free = np.arange(self.count, min(self.count + new, capacity))
        places = np.append(free, self.encoder.rng.choice(capacity, new - len(free), replace=False))
        self.latents[places], self.tokens[places], self.lengths[places] = latents.half(), tokens, lengths
        self.count = min(self.count + new, capacity)
        return places


def shortened(tokens: Tensor, lengths: Tensor, chance: Tensor, end: int) -> Tensor:
    """Captions (B, L), some emptied and some cut to the `lengths` tokens of their concept, by chances in [0, 1]."""
    kept = torch.where(chance < NO_CAPTION + CONCEPT_ONLY, lengths, tokens.shape[1])
    kept = torch.where(chance < NO_CAPTION, 0, kept)[:, None]
    place = torch.arange(tokens.shape[1])[None]
    return torch.where(place < kept, tokens, torch.where(place == kept, end, 0))


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(picture).movedim(-1, 0) / 127.5 - 1


def _stored(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    mapped = np.lib.format.open_memmap(path, "r+" if path.exists() else "w+", dtype, shape)
    if mapped.shape != shape:
        raise ValueError(f"{path} has the shape {mapped.shape}, not {shape}: remove it")
    return mapped
