"""Pictures with captions as examples for a distillation: dog.jpg and, beside it, dog.txt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.solvers.errors import UsageError
from fastdiff.training.fit import Batch

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HELD_OUT = 10  # one picture in HELD_OUT is held out
VALIDATED = 64  # of these, at most
LEAST = 10  # pictures


@dataclass(frozen=True)
class CaptionedPictures:
    """The `Examples` of a folder. Their middle squares are encoded once, and prompts batch by batch.

    Raises UsageError for fewer than LEAST pictures with captions.
    """

    model: LatentDiffusionModel
    folder: Path
    batch: int
    seed: int

    def __post_init__(self) -> None:
        if len(self._paths) < LEAST:
            raise UsageError(
                f"{self.folder} holds {len(self._paths)} pictures with captions, such as dog.jpg and dog.txt: "
                f"give {LEAST} or more"
            )

    @property
    def description(self) -> str:
        return f"{len(self._paths)} pictures with captions"

    def batches(self, first: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, first])
        known = [i for i in range(len(self._paths)) if i % HELD_OUT]
        while True:
            yield self._examples(rng.choice(known, self.batch).tolist())

    def held_out(self) -> Batch:
        return self._examples(range(0, len(self._paths), HELD_OUT)[:VALIDATED])

    @cached_property
    def _paths(self) -> list[Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [path for path in found if path.with_suffix(".txt").is_file()]

    @torch.no_grad()
    def _examples(self, numbers: Sequence[int]) -> Batch:
        texts = [self._paths[number].with_suffix(".txt").read_text(errors="replace").strip() for number in numbers]
        prompts = self.model.encode_prompts(texts)
        return torch.stack([self._latents[number] for number in numbers]), prompts.embeddings.float(), prompts.mask

    @cached_property
    def _latents(self) -> Tensor:
        """All pictures as latents (N, C, h, w)."""
        with torch.no_grad():
            return torch.cat([self.model.encode(_square(path, self.model.resolution)).cpu() for path in self._paths])


def _square(path: Path, side: int) -> Tensor:
    """Return the middle square of a picture, (1, 3, side, side) in [-1, 1]. Raises UsageError if it cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise UsageError(f"{path} is not a readable picture")
    height, width = picture.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    cut = cv2.resize(picture[top : top + least, left : left + least], (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cut).movedim(-1, 0)[None] / 127.5 - 1
