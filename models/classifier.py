"""The contract for image classifiers: colours in [0, 1] of any size in, logits out, preprocessing inside."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

TOLERANCE = 1e-4  # by which colours may leave [0, 1]
LONGEST_NAME = 1000  # characters


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a classifier.

    Scales the picture until its shorter side (both sides with `squash`) has `scaled` pixels, crops the central square
    of `side` pixels (no resizing if `side` is None), and normalises each channel: (value - mean) / deviation.
    """

    side: int | None
    scaled: int | None = None  # at least `side`; None is `side`
    squash: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    mode: str = "bicubic"

    def __call__(self, pictures: Tensor) -> Tensor:
        """Convert colours (B, 3, H, W) in [0, 1] to the network's input (B, 3, side, side)."""
        if self.side is not None:
            pictures = self._square(pictures, self.side)
        return (pictures - _channels(self.mean, pictures)) / _channels(self.deviation, pictures)

    def _square(self, pictures: Tensor, side: int) -> Tensor:
        height, width = pictures.shape[-2:]
        scaled = self.scaled or side
        size = scaled, scaled
        if not self.squash:
            size = scaled * height // min(height, width), scaled * width // min(height, width)
        if (height, width) != size:
            pictures = F.interpolate(pictures, size, mode=self.mode, antialias=True)
            pictures = clamp_colours(pictures)  # bicubic kernels overshoot
        top, left = (round((length - side) / 2) for length in size)
        return pictures[..., top : top + side, left : left + side]


@dataclass(frozen=True)
class ClassifierTarget:
    """A classifier in evaluation mode, without gradients of its weights."""

    name: str  # as a person gave it
    net: nn.Module  # what Preprocessing gives (B, 3, h, w) to logits (B, C)
    preprocessing: Preprocessing
    names: tuple[str, ...]  # of the C classes, in the order of their indices
    code: Path | None = None  # of a network of one's own

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return logits (B, C), float32, for colours (B, 3, H, W) in [0, 1].

        Raises UsageError for colours outside [0, 1], and for logits that are not finite or not one per class.
        """
        low, high = map(read_back, pictures.detach().aminmax())
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
            raise UsageError(
                f"colours from {low:.3g} to {high:.3g}: classifiers take [0, 1], and normalise them inside"
            )
        logits: Tensor = self.net(self.preprocessing(clamp_colours(pictures)))
        if logits.ndim != 2 or logits.shape[1] != len(self.names):
            raise UsageError(f"{self.name} gives {tuple(logits.shape)} for {len(self.names)} class names")
        if not read_back(logits.isfinite().all()):
            raise UsageError(f"{self.name} gives logits that are not finite numbers")
        return logits.float()

    def label(self, text: str) -> int:
        """Return the index of a class, given by index or by name (case-insensitive).

        Raises UsageError for any other text, and suggests the nearest names.
        """
        text = text.strip()
        if len(text) > LONGEST_NAME:
            raise UsageError(f"{self.name} has no class whose name has {len(text)} characters")
        if text.isdecimal():
            if int(text) < len(self.names):
                return int(text)
            raise UsageError(f"class {text}: {self.name} has {len(self.names)}, counted from 0")
        folded = [_folded(name) for name in self.names]
        if (count := folded.count(_folded(text))) > 1:
            indices = " or ".join(str(index) for index, name in enumerate(folded) if name == _folded(text))
            raise UsageError(f"{self.name} has {count} classes named {text!r}: give the index, {indices}")
        if _folded(text) in folded:
            return folded.index(_folded(text))
        near = difflib.get_close_matches(_folded(text), folded, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(repr(self.names[folded.index(name)]) for name in near)}?" if near else ""
        raise UsageError(f"{self.name} has no class {text!r}{hint}")


def clamp_colours(pictures: Tensor) -> Tensor:
    """Clamp colours to [0, 1], with gradient 1 everywhere.

    The gradient of torch's clamp is 0 at the bounds, where black and white lie, and resampling leaves white above 1 by
    a rounding error. Whoever follows the gradient projects onto the bounds.
    """
    return pictures.detach().clamp(0, 1) + (pictures - pictures.detach())


def numbered(count: int) -> tuple[str, ...]:
    """Return the class indices as names, for classifiers without class names."""
    return tuple(map(str, range(count)))


def _folded(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
