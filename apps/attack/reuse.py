"""Checks that a finished attack was made on the classifiers as they are now."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fastdiff.apps.attack import logits
from fastdiff.apps.attack.outputs import placed
from fastdiff.apps.images import picture
from fastdiff.apps.running.inputs import Item
from fastdiff.models.classifier import ClassifierTarget

VICTIM = "victim"  # among the names of classifiers, which all hold a colon or a digit


def measured(
    victim: ClassifierTarget,
    others: Mapping[str, ClassifierTarget],
    device: str,
    clean: np.ndarray,
    attacked: np.ndarray | None,
    draws: int,
) -> dict[str, list[Tensor]]:
    """The logits of the attacked classifier and the others on pictures, uint8 (H, W, 3), each the mean of `draws`.

    Where a picture was skipped, `attacked` is None and the others do not count. Raises UsageError as classifiers do.
    """
    if attacked is None:
        return {VICTIM: logits.measure(victim, [clean], device, draws)}
    classifiers = {VICTIM: victim, **others}
    return {name: logits.measure(each, [clean, attacked], device, draws) for name, each in classifiers.items()}


def checker(
    victim: ClassifierTarget, others: Mapping[str, ClassifierTarget], device: str, draws: int
) -> Callable[[Item, list[dict[str, Any]]], bool]:
    """A check of a finished item and its records: True if the classifiers still give the stored logits.

    Records of earlier versions hold none. A classifier that fails does not give them.
    """

    def is_valid(item: Item, records: list[dict[str, Any]]) -> bool:
        record = records[0]
        if "logits" not in record:
            return False
        made = placed(item.output, record["success_after_png"]) if record["output"] else None
        try:
            now = measured(victim, others, device, pixels_of(item.source), pixels_of(made) if made else None, draws)
        except Exception:  # of a classifier of one's own; it fails again, and is reported, when the item is attacked
            return False
        return logits.agree(record["logits"], now)

    return is_valid


def pixels_of(path: Path) -> np.ndarray:
    """The colours of a picture file, uint8 (H, W, 3). Raises UsageError as `picture.read` does."""
    return picture.to_uint8(picture.read(path).colour[0])
