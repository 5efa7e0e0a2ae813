"""Finds out what a classifier of one's own takes and gives, by pictures that are put through it one at a time.

The side of its input, colour or grey, its precision, the number of its classes, and logits or probabilities.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fastdiff.models.classifier import ClassifierTarget, OutputKind, Preprocessing
from fastdiff.solvers.errors import UsageError

USUAL = 224  # pixels of the side that is tried first
OTHERS = (160, 192, 196)  # multiples of 32, 64 and 28: a network that takes one of them too takes any size
SIDES = (
    *(28, 32, 40, 48, 50, 56, 60, 64, 72, 75, 80, 84, 90, 96, 100, 112, 120, 128, 144, 150, 160, 176, 180, 192, 200),
    *(227, 240, 256, 260, 288, 299, 300, 320, 331, 336, 350, 380, 384, 400, 448, 456, 480, 512, 518, 600),
)
SUM_TOLERANCE = 1e-2  # by which probabilities of half precision may differ from a sum of 1


def probed(target: ClassifierTarget, device: str, example: Tensor | None = None) -> tuple[ClassifierTarget, int]:
    """Return the target, which is on the device, with its preprocessing, precision, output kind and notes.

    With an `example` of its pictures (1, C, H, W), its preprocessing is that of the target already. Also returns the
    number of its classes, two for a network that gives one number. A network of less than 32 bits computes in float32
    where it can. Raises UsageError for a network that takes no picture of a known size, or whose outputs are no logits.
    """
    errors = []
    own = _dtype(target.net)
    for weights, dtype in _precisions(own):
        target.net.to(weights)
        for preprocessing in _inputs(target) if example is None else (target.preprocessing,):
            candidate = replace(target, preprocessing=preprocessing, dtype=dtype)
            pictures = _pictures(preprocessing) if example is None else [_noise(example.shape), example]
            try:
                outputs = torch.cat([_outputs(candidate, picture.to(device)) for picture in pictures])
            except Exception as error:  # of a stranger's network, for an input that it does not take
                errors.append(error)
                continue
            if target.preprocessing.side is None and preprocessing.side == USUAL and _takes_any(candidate, device):
                candidate = replace(candidate, preprocessing=replace(preprocessing, side=None))
            notes = (*target.notes, *_notes(target, candidate, own, weights))
            return replace(candidate, output_kind=_output_kind(outputs), notes=notes), max(2, outputs.shape[1])
    first_error = errors[0]
    if isinstance(first_error, UsageError):
        raise first_error
    reason = str(first_error).strip().partition("\n")[0]
    if example is not None:
        size = " x ".join(map(str, example.shape[1:]))
        raise UsageError(f"{target.name} takes no pictures of {size} ({type(first_error).__name__}: {reason})")
    raise UsageError(
        f"{target.name} takes no square picture of a usual size, in colour or grey: give it an attribute `side`, the "
        f"pixels of its input ({type(first_error).__name__}: {reason})"
    )


def training_layers(net: nn.Module) -> tuple[str, ...]:
    """Return the kinds of layers in training mode that act otherwise there: dropout and batch norm."""
    layers = (layer for root in (net, *reached_modules(net)) for layer in root.modules())
    kinds = {type(layer).__name__ for layer in layers if layer.training and isinstance(layer, (_DropoutNd, _BatchNorm))}
    return tuple(sorted(kinds))


def reached_modules(net: nn.Module) -> tuple[nn.Module, ...]:
    """Return the networks that a wrapped function uses: its globals, closures, arguments, attributes and own object.

    Functions of its module that it names are followed.
    """
    function = getattr(net, "function", None)
    if function is None:
        return ()
    found: list[nn.Module] = []
    waiting, seen = [function], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, nn.Module):
            found.append(each)
        elif each is function or getattr(each, "__module__", None) == getattr(function, "__module__", ""):
            waiting += _values_used(each)
    return tuple(found)


def _values_used(function: Any) -> list[Any]:
    if isinstance(function, partial):
        return [function.func, *function.args, *function.keywords.values()]
    if inspect.ismethod(function):
        return [function.__self__, function.__func__]
    if inspect.isfunction(function):
        named = inspect.getclosurevars(function)
        return [*named.globals.values(), *named.nonlocals.values(), *(function.__defaults__ or ())]
    return list(getattr(function, "__dict__", {}).values())


def _dtype(net: nn.Module) -> torch.dtype:
    return next((each.dtype for each in net.parameters() if each.is_floating_point()), torch.float32)


def _precisions(own: torch.dtype) -> tuple[tuple[torch.dtype, torch.dtype], ...]:
    """Return precisions of weights with those of inputs, in the order to try them."""
    if own.itemsize < torch.float32.itemsize:  # float32 holds its weights exactly, and small gradients
        return (torch.float32, torch.float32), (own, torch.float32), (own, own)
    return tuple(dict.fromkeys([(own, own), (own, torch.float32), (torch.float32, torch.float32)]))


def _inputs(target: ClassifierTarget) -> Iterator[Preprocessing]:
    if target.preprocessing.side is not None:
        sides: tuple[int, ...] = (target.preprocessing.side,)
    else:
        sides = (*_side_of_first_layer(target.net), USUAL, *SIDES)
    for side in sides:
        for grey in (False, True):
            yield replace(target.preprocessing, side=side, grey=grey)


def _side_of_first_layer(net: nn.Module) -> tuple[int, ...]:
    """Return the side of the picture whose values are the inputs of a linear first layer; empty for other layers."""
    layers = (each for each in net.modules() if isinstance(each, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)))
    first = next(layers, None)
    if not isinstance(first, nn.Linear):
        return ()
    sides = ((isqrt(first.in_features // channels), channels) for channels in (3, 1))
    return tuple(side for side, channels in sides if side > 1 and channels * side * side == first.in_features)


def _pictures(preprocessing: Preprocessing) -> list[Tensor]:
    """Return noise and white, each (1, 3, side, side)."""
    side = preprocessing.side or USUAL
    noise = _noise((1, 3, side, side))
    return [noise, torch.ones_like(noise)]


def _noise(shape: Sequence[int]) -> Tensor:
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))


def _outputs(target: ClassifierTarget, picture: Tensor) -> Tensor:
    with torch.no_grad():
        return target.outputs_of(picture)


def _takes_any(target: ClassifierTarget, device: str) -> bool:
    for side in OTHERS:
        preprocessing = replace(target.preprocessing, side=side)
        try:
            _outputs(replace(target, preprocessing=preprocessing), _pictures(preprocessing)[0].to(device))
        except Exception:  # of a stranger's network
            continue
        return True
    return False


def _output_kind(outputs: Tensor) -> OutputKind:
    """Return the kind of outputs (N, C); a single number within [0, 1] is the probability of the second class."""
    if not ((outputs >= 0) & (outputs <= 1)).all():
        return "logits"
    if outputs.shape[1] == 1 or ((outputs.sum(1) - 1).abs() < SUM_TOLERANCE).all():
        return "probabilities"
    return "logits"


def _notes(given: ClassifierTarget, found: ClassifierTarget, own: torch.dtype, weights: torch.dtype) -> Iterator[str]:
    """Yield what was found out, in clauses."""
    if given.preprocessing.side is None and found.preprocessing.side is not None:
        yield f"takes pictures of {found.preprocessing.side} x {found.preprocessing.side} pixels alone"
    if found.preprocessing.grey:
        yield "takes grey pictures"
    if weights != own:
        yield f"computes in {_named(weights)}, its weights are of {_named(own)}"
    elif own != torch.float32:
        yield f"computes in {_named(own)}"


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
