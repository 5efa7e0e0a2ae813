"""Logits of classifiers on a picture and its attack, kept with the result to recognise the classifiers by.

A classifier of one's own may load anything: weights, helper modules, state of its process. No digest covers all that,
but its logits on the two pictures do.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastdiff.models.classifier import ClassifierTarget

TOLERANCE = 1e-4  # of the largest logit; other threads and batches change less


def measure(classifier: ClassifierTarget, pictures: Sequence[np.ndarray], device: str, draws: int = 1) -> list[Tensor]:
    """The logits (1, C) of each picture, uint8 (H, W, 3), by itself: the mean of `draws` passes.

    Raises UsageError as the classifier does.
    """
    with torch.no_grad():
        colours = [_colours(pixels).to(device) for pixels in pictures]
        return [torch.stack([classifier(each) for _ in range(draws)]).mean(0).cpu() for each in colours]


def stored(logits: Mapping[str, Sequence[Tensor]]) -> dict[str, list[str]]:
    """The logits of every classifier as JSON: base64 of little-endian float32, 5 KB for 1000 classes."""
    return {
        name: [base64.b64encode(each.numpy().astype("<f4").tobytes()).decode() for each in of]
        for name, of in logits.items()
    }


def agree(record: Any, logits: Mapping[str, Sequence[Tensor]]) -> bool:
    """True if the record is that of the same classifiers with the same logits, within TOLERANCE."""
    if not isinstance(record, Mapping) or record.keys() != logits.keys():
        return False
    return all(
        isinstance(record[name], list)
        and len(record[name]) == len(of)
        and all(_equal(text, each.numpy().ravel()) for text, each in zip(record[name], of, strict=True))
        for name, of in logits.items()
    )


def _equal(text: Any, now: np.ndarray) -> bool:
    try:
        then = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except (TypeError, ValueError):
        return False
    return then.shape == now.shape and bool((np.abs(then - now) <= TOLERANCE * np.abs(now).max()).all())


def _colours(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).movedim(-1, 0)[None] / 255
