"""Classifiers that are objects of this process already: networks, functions, and models of foolbox."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastdiff.models.classifier import ClassifierTarget, Preprocessing
from fastdiff.models.classifier_loading import named, noted_training_layers, wrapped
from fastdiff.models.classifier_probe import probed, reached_modules

Model = ClassifierTarget | nn.Module | Callable[[Tensor], Any]


@contextmanager
def borrowed(
    model: Model, pictures: Tensor, preprocessing: Preprocessing, names: Sequence[str] | None = None
) -> Iterator[tuple[ClassifierTarget, torch.device]]:
    """Borrow a classifier of such pictures (B, C, H, W) in [0, 1], with the device it is on.

    Inside, its networks are in evaluation mode, without gradients of their weights, and in another precision where they
    need one; afterwards they are as before. Networks that a function names count too. Pictures reach the network by
    `preprocessing`, which a `ClassifierTarget` has of its own. Raises UsageError for a network that does not take such
    pictures or gives no logits, and unless there are as many `names` as classes.
    """
    if isinstance(model, ClassifierTarget):
        yield model, device_of(model.net)
        return
    net = wrapped(model)
    networks = (net, *reached_modules(net))
    restore = _recorded(networks)
    try:
        target = noted_training_layers(ClassifierTarget(type(model).__name__, net, preprocessing, tuple(names or ())))
        net.eval()
        for each in networks:
            each.requires_grad_(False)
        device = device_of(*networks)
        yield named(*probed(target, str(device), pictures[:1])), device
    finally:
        restore()


def device_of(*networks: nn.Module) -> torch.device:
    """Return the device of the first weights of the networks; the CPU for those without any."""
    tensors = (each for net in networks for each in (*net.parameters(), *net.buffers()))
    return next((each.device for each in tensors), torch.device("cpu"))


def _recorded(networks: Sequence[nn.Module]) -> Callable[[], None]:
    """Return a function that restores modes, needs of gradients and the very tensors of the networks."""
    layers = list(dict.fromkeys(layer for net in networks for layer in net.modules()))
    modes = [(layer, layer.training) for layer in layers]
    buffers = [(layer, dict(layer._buffers)) for layer in layers]
    weights = [(each, each.data, each.requires_grad) for net in networks for each in net.parameters()]

    def restore() -> None:
        for layer, training in modes:
            layer.training = training
        for layer, kept in buffers:
            layer._buffers.update(kept)
        for weight, values, needs_gradient in weights:
            weight.data = values
            weight.requires_grad_(needs_gradient)

    return restore
