"""Pictures in memory with their labels, from tensors, Datasets and DataLoaders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fastdiff.models.classifier import TOLERANCE
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

READ = 64  # pictures of a Dataset at once

Images = Tensor | Dataset[Any] | DataLoader[Any]
Classes = Tensor | Sequence[int]


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """N pictures of one size, on the CPU."""

    pictures: Tensor  # (N, C, H, W) in [0, 1], float32
    labels: Tensor | None  # (N,), indices of classes


def collect(images: Images, labels: Classes | None) -> LabelledPictures:
    """Read all pictures, and their labels where the Dataset has some.

    A Dataset yields pictures, or pictures with labels; a DataLoader batches of these. Raises UsageError for pictures of
    several sizes, another shape than (N, 3, H, W) or (N, 1, H, W), integers, and colours outside [0, 1]; for labels
    that are not one integer for each picture, and for those of a Dataset beside others.
    """
    pictures, own = (images, None) if isinstance(images, Tensor) else _read(images)
    if own is not None and labels is not None:
        raise UsageError("the Dataset has labels: give no others")
    _check(pictures)
    given = own if labels is None else labels
    return LabelledPictures(
        pictures.detach().float().cpu().clamp(0, 1), None if given is None else classes(given, len(pictures))
    )


def classes(given: Classes, count: int) -> Tensor:
    """Return one class for each picture as (N,). Raises UsageError for others than `count` integers."""
    found = torch.as_tensor(given).detach().cpu()
    if found.shape != (count,) or found.is_floating_point() or found.dtype == torch.bool:
        raise UsageError(
            f"labels of shape {tuple(found.shape)} and {found.dtype} for {count} pictures: one integer for each"
        )
    return found.long()


def _read(images: Any) -> tuple[Tensor, Tensor | None]:
    loader: Iterable[Any] = images if isinstance(images, DataLoader) else DataLoader(images, READ)
    pictures, labels = [], []
    try:
        for batch in loader:
            first, *rest = batch if isinstance(batch, (tuple, list)) else (batch,)
            pictures.append(first)
            labels += rest[:1]
        if not pictures:
            raise UsageError("the Dataset is empty")
        return torch.cat(pictures), torch.cat(labels) if labels else None
    except (RuntimeError, TypeError) as error:  # of collating, by torch
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            "the Dataset's pictures make no batch: give it a transform that ends in tensors of one size, such as "
            f"Resize, CenterCrop and ToTensor ({reason})"
        ) from error


def _check(pictures: Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or not pictures.numel():
        raise UsageError(f"pictures of shape {tuple(pictures.shape)}: give (N, 3, H, W) or (N, 1, H, W)")
    if not pictures.is_floating_point():
        raise UsageError(f"pictures of {pictures.dtype}: give floats in [0, 1], such as pictures / 255")
    low, high = map(read_back, pictures.detach().aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise UsageError(
            f"colours from {low:.3g} to {high:.3g}: give them in [0, 1]; leave out Normalize, and give its mean and "
            "deviation where the network does not normalise"
        )
