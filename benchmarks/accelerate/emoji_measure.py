"""What is seen in pictures of emoji: the shape of the emoji, and what the judge reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.edit.cases import as_picture
from benchmarks.edit.shape import ShapeMeasure
from fastdiff.models.recogniser import Recogniser


@dataclass(frozen=True)
class EmojiMeasure:
    """Measures pictures of emoji."""

    judge: Recogniser
    shape: ShapeMeasure

    def __call__(self, concepts: Sequence[str], pictures: Tensor) -> Iterator[dict[str, Any]]:
        """Yield the measures of every picture (B, 3, H, W) in [-1, 1] that should show a concept.

        They are the PSNR of its shape in dB, the agreement of its edges in [-1, 1], whether the judge reads the
        concept, and the colours that the judge reads behind it, the largest first.
        """
        for concept, picture, reading in zip(concepts, pictures, self.judge.read(pictures), strict=True):
            shape, right = self.shape(as_picture(picture[None]), concept), reading.concept == concept
            yield {"shape": shape.psnr, "edges": shape.edges, "concept": right, "colours": reading.colours}
