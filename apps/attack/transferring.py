"""What makes attacks carry over to classifiers that they were not made on: several classifiers, and diverse inputs."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.attack.search import Classifier
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import UsageError

SHRUNK = 0.85  # smallest share of the sides


class Ensemble:
    """The mean of the logits of several classifiers, in the classes of the first (Dong et al. 2018, arXiv 1710.06081).

    `others` come with the index there of each of the first one's classes. Raises UsageError if one lacks a class.
    """

    def __init__(
        self, first: ClassifierTarget, others: Sequence[tuple[ClassifierTarget, Sequence[int | None]]]
    ) -> None:
        self._first, self._others = first, []
        for other, found in others:
            indices = [index for index in found if index is not None]
            if len(indices) < len(found):
                missing = first.names[list(found).index(None)]
                raise UsageError(f"surrogate {other.name} has no class {missing!r} of {first.name}")
            self._others.append((other, torch.tensor(indices)))

    def __call__(self, pictures: Tensor) -> Tensor:
        logits = [self._first(pictures)]
        logits += [other(pictures)[:, indices.to(pictures.device)] for other, indices in self._others]
        return torch.stack(logits).mean(0)


class DiverseInputs:
    """A classifier that sees each batch shrunk and padded at random (Xie et al. 2019, arXiv 1803.06978), or as it is.

    The draw of a call depends on the seed and the number of the call alone: not on the pictures beside one.
    """

    def __init__(self, classify: Classifier, probability: float, seed: int) -> None:
        self._classify, self._probability = classify, probability
        self._random = np.random.default_rng(seed)

    def __call__(self, pictures: Tensor) -> Tensor:
        drawn, scale, down, right = self._random.random(4)
        if drawn >= self._probability:
            return self._classify(pictures)
        sides = pictures.shape[-2:]
        small = [max(1, round(side * (SHRUNK + (1 - SHRUNK) * scale))) for side in sides]
        shrunk = F.interpolate(pictures, small, mode="bilinear", antialias=True)
        top, left = (
            int(share * (side - less + 1)) for share, side, less in zip((down, right), sides, small, strict=True)
        )
        return self._classify(F.pad(shrunk, (left, sides[1] - small[1] - left, top, sides[0] - small[0] - top)))
