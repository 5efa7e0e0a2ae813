"""The contract for image classifiers: colours in [0, 1] of any size in, logits out, preprocessing inside."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

TOLERANCE = 1e-4  # by which colours may leave [0, 1]
LONGEST_NAME = 1000  # characters
BY_NAME, BY_INDEX = "name:", "index:"  # prefixes of a class that is both the name of one and the index of another
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as PIL and torchvision make grey
LOGITS_KEYS = ("logits", "out", "output", "outputs", "predictions")  # of networks that give a mapping

OutputKind = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a classifier.

    Scales the picture until its shorter side (both sides with `squash`) has `scaled` pixels, crops the central square
    of `side` pixels (no resizing if `side` is None), makes it grey with `grey`, and normalises each channel:
    (value - mean) / deviation.
    """

    side: int | None
    scaled: int | None = None  # at least `side`; None is `side`
    squash: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    mode: str = "bicubic"
    grey: bool = False

    def __call__(self, pictures: Tensor) -> Tensor:
        """Convert colours (B, 3, H, W) in [0, 1] to the network's input (B, 3, side, side), or (B, 1, ...) if grey."""
        if self.side is not None:
            pictures = self._square(pictures, self.side)
        if self.grey:
            pictures = (pictures * _channels(LUMINANCE, pictures)).sum(1, keepdim=True)
        mean, deviation = (values[: pictures.shape[1]] for values in (self.mean, self.deviation))
        return (pictures - _channels(mean, pictures)) / _channels(deviation, pictures)

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
    net: nn.Module  # what Preprocessing gives (B, 3, h, w) to logits (B, C), in any form that `outputs_of` knows
    preprocessing: Preprocessing
    names: tuple[str, ...]  # of the C classes, in the order of their indices
    code: Path | None = None  # of a network of one's own
    dtype: torch.dtype | None = None  # of the network's input; None is that of the pictures
    output_kind: OutputKind = "logits"
    notes: tuple[str, ...] = ()  # what was found out or changed when it was loaded

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return logits (B, C), float32, for colours (B, 3, H, W) in [0, 1]; of probabilities, their logarithms.

        Raises UsageError for colours outside [0, 1], and for logits that are not finite or not one per class.
        """
        low, high = map(read_back, pictures.detach().aminmax())
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
            raise UsageError(
                f"colours from {low:.3g} to {high:.3g}: classifiers take [0, 1], and normalise them inside"
            )
        outputs = self.outputs_of(pictures).float()
        logits = _as_logits(outputs, self.output_kind)
        if logits.shape[1] != len(self.names):
            raise UsageError(f"{self.name} gives {tuple(outputs.shape)} for {len(self.names)} class names")
        if not read_back(logits.isfinite().all()):
            raise UsageError(f"{self.name} gives logits that are not finite numbers")
        return logits

    def outputs_of(self, pictures: Tensor) -> Tensor:
        """Return the network's own outputs (B, C) for colours (B, 3, H, W) in [0, 1].

        They are the network's tensor, the first of a tuple or list, or that of a mapping (such as a ModelOutput) with a
        key of LOGITS_KEYS, or its first. (B,) and (B, C, 1, 1) count as (B, 1) and (B, C). Raises UsageError for other
        shapes.
        """
        pictures = clamp_colours(pictures).contiguous()  # other strides round otherwise
        given = self.net(self.preprocessing(pictures).to(self.dtype or pictures.dtype))
        outputs = next(_tensors(given), None)
        if outputs is None:
            raise UsageError(
                f"{self.name} gives a {type(given).__name__} without a tensor of floats: logits are needed"
            )
        rows = len(pictures)
        if outputs.ndim == 1 and len(outputs) != rows and rows == 1:
            outputs = outputs[None]
        if outputs.ndim == 1 or outputs.shape[2:].numel() == 1:
            outputs = outputs.flatten(1) if outputs.ndim > 1 else outputs[:, None]
        if outputs.ndim != 2 or len(outputs) != rows:
            raise UsageError(
                f"{self.name} gives {tuple(outputs.shape)} for {rows} pictures: logits of classes are needed"
            )
        return outputs

    def label(self, text: str) -> int:
        """Return the index of a class, given by index or by name (case-insensitive); `index:` and `name:` say which.

        Raises UsageError for a text that is the index of one class and the name of another, and for any other text,
        with the nearest names.
        """
        text = text.strip()
        if len(text) > LONGEST_NAME:
            raise UsageError(f"{self.name} has no class whose name has {len(text)} characters")
        if text.startswith(BY_INDEX):
            return self._by_index(text.removeprefix(BY_INDEX).strip())
        if text.startswith(BY_NAME):
            return self._by_name(text.removeprefix(BY_NAME).strip())
        named = [index for index, name in enumerate(self.names) if folded(name) == folded(text)]
        if not text.isdecimal():
            return self._by_name(text)
        if not named or named == [int(text)]:
            return self._by_index(text)
        by_index = (
            f"{BY_INDEX}{text} is the class named {self.names[int(text)]!r}" if int(text) < len(self.names) else ""
        )
        raise UsageError(
            f"class {text} of {self.name} has two meanings: {BY_NAME}{text} is the class with index {named[0]}, "
            f"{by_index or f'{BY_INDEX}{text} is beyond its {len(self.names)} classes'}: give one of these"
        )

    def _by_index(self, text: str) -> int:
        if text.isdecimal() and int(text) < len(self.names):
            return int(text)
        raise UsageError(f"class {text}: {self.name} has {len(self.names)}, counted from 0")

    def _by_name(self, text: str) -> int:
        names = [folded(name) for name in self.names]
        if (count := names.count(folded(text))) > 1:
            indices = " or ".join(str(index) for index, name in enumerate(names) if name == folded(text))
            raise UsageError(f"{self.name} has {count} classes named {text!r}: give the index, {indices}")
        if folded(text) in names:
            return names.index(folded(text))
        near = difflib.get_close_matches(folded(text), names, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(repr(self.names[names.index(name)]) for name in near)}?" if near else ""
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


def folded(name: str) -> str:
    """Return one spelling for names that mean the same class."""
    return name.casefold().replace("_", " ").strip()


def _tensors(given: Any) -> Iterator[Tensor]:
    """Yield the tensors of floats in the outputs of a network, that of the logits first."""
    if isinstance(given, Mapping):
        keys = [key for key in LOGITS_KEYS if key in given]
        given = [given[key] for key in (*keys, *given)]
    if isinstance(given, Tensor):
        yield from (given,) if given.is_floating_point() and given.ndim else ()
    elif isinstance(given, (tuple, list)):
        for each in given:
            yield from _tensors(each)


def _as_logits(outputs: Tensor, kind: OutputKind) -> Tensor:
    """Return logits (B, C) of outputs (B, C); one logit is that of the second of two classes."""
    if kind == "probabilities":
        if outputs.shape[1] == 1:
            outputs = torch.cat([1 - outputs, outputs], dim=1)
        return outputs.clamp(min=torch.finfo(outputs.dtype).tiny).log()
    if outputs.shape[1] == 1:
        return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    return outputs


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
