"""Fingerprints of denoising networks, equal on every device and in every precision; tuned solvers are bound to them."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
from safetensors import safe_open
from torch import Tensor, nn

from fastdiff.models.catalogue import NETWORKS, find
from fastdiff.models.diffusers_folder import read_folder, read_weights
from fastdiff.models.scheduler_config import read_scheduler_config
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Prediction
from fastdiff.solvers.schedule import Schedule

PROBES = 11  # levels at which schedules are compared


def of_folder(model: str) -> str:
    """Return the fingerprint of the denoising network in a model's folder (`fastdiff.models.catalogue.find`).

    Raises UsageError if the folder has no such network.
    """
    folder = read_folder(find(model))
    part = next((name for name in NETWORKS if name in folder.parts), None)
    if part is None:
        raise UsageError(f"{folder.path} has no {' and no '.join(NETWORKS)}: there is nothing that denoises")
    trained = read_scheduler_config(folder.path / "scheduler")
    with ExitStack() as stack:
        where: dict[str, Any] = {}  # the open file of each tensor
        for path in read_weights(folder.path / part).files:
            file = stack.enter_context(safe_open(path, "pt"))
            where |= dict.fromkeys(file.keys(), file)
        return _digest(where, lambda name: where[name].get_tensor(name), trained.schedule, trained.predicts)


def of_network(network: nn.Module, schedule: Schedule, predicts: Prediction) -> str:
    """Return the fingerprint of a float32 network in memory."""
    weights = network.state_dict()
    return _digest(weights, lambda name: weights[name], schedule, predicts)


def _digest(names: Iterable[str], tensor: Callable[[str], Tensor], schedule: Schedule, predicts: Prediction) -> str:
    """SHA-256 over names, shapes and float32 values of the weights, levels of the schedule, and what is predicted."""
    total = hashlib.sha256(predicts.encode())
    for t in np.linspace(schedule.start, schedule.end, PROBES):
        total.update(f"{schedule.level(float(t)).alpha:.6f} ".encode())
    for name in sorted(names):
        add_tensor(total, name, tensor(name))
    return total.hexdigest()


def add_tensor(total: "hashlib._Hash", name: str, value: Tensor) -> None:
    """Add a tensor to a digest: its name, shape and float32 values."""
    value = value.detach().float().cpu().contiguous()
    total.update(f"{name} {tuple(value.shape)}".encode())
    total.update(value.numpy().data)
