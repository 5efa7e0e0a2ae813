"""Fit of the Gaussian of analytical teleportation (`fastdiff.solvers.teleport`) to data."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.teleport import Teleport


def fit(batches: Iterable[Tensor], rank: int | None = None) -> Teleport:
    """Fit mean and the `rank` largest principal directions of clean data x0 (B, ...), by default all directions.

    The data must be in the network's range; latents for a latent model. Holds K x D numbers in float64; at most K - 1
    and at most D directions have a variance. Returns float64.

    Raises UsageError for fewer than two items, and for a rank outside 1 to the largest.
    """
    data = torch.cat([batch.double() for batch in batches])
    most = min(len(data) - 1, data[0].numel())
    if most < 1:
        raise UsageError(f"{len(data)} items to fit a Gaussian to: give two or more")
    rank = most if rank is None else rank
    if not 1 <= rank <= most:
        raise UsageError(f"rank {rank} of {len(data)} items with {data[0].numel()} elements: give 1 to {most}")
    mean = data.mean(0)
    _, values, directions = torch.linalg.svd((data - mean).flatten(1), full_matrices=False)
    return Teleport(mean, directions[:rank].mT.contiguous(), values[:rank].square() / (len(data) - 1))
