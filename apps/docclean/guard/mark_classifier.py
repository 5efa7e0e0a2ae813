"""Classifies marks as content or dirt by their features, with weights fitted on rendered pages."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

FILE = "docclean-guard.json"  # of the package's data
FARTHEST = 6.0  # standard deviations from the mean at which a feature is clipped


@dataclass(frozen=True)
class MarkClassifier:
    """A network of one hidden layer: features (N, F) to the probability of content (N,)."""

    middle: np.ndarray
    spread: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        scaled = np.clip((features - self.middle) / self.spread, -FARTHEST, FARTHEST)
        hidden = np.tanh(scaled @ self.w1.T + self.b1)
        probability: np.ndarray = 1 / (1 + np.exp(-(hidden @ self.w2 + self.b2)))
        return probability


@cache
def load_classifier(layer: str) -> MarkClassifier:
    """Return the bundled classifier of "strokes" or "areas"."""
    numbers = json.loads((files("fastdiff.data") / FILE).read_text())[layer]
    return MarkClassifier(**{name: np.array(value, np.float32) for name, value in numbers.items()})
