"""Counts what published models need, on the meta device: weights, work of a call, and memory on a GPU.

    python -m benchmarks.memory [--only NAMES] [--json PATH]

Memory is that of weights and of live activations, where attention keeps no maps, and RESERVE for the driver and the
allocator. Nothing is loaded and nothing is measured on a GPU.
"""

import argparse
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import sections
from benchmarks.published_models import MODELS, Published
from benchmarks.result import Cell, Section, Table

CARDS = (8, 12, 24, 80)  # GB
GB = 1e9
RESERVE = 1.0  # GB
COLUMNS = ("", "side", "network, 1e9", "text, 1e9", "autoencoder, 1e6", "TFLOP a call and row", "decoding, GB")
ROWS = 2  # of a guided call: with and without the prompt
PATCH = 2  # latents of a side in a token of FLUX


@dataclass(frozen=True)
class Part:
    """A part of a model: its size, and the bytes of live activations in float32 while it works."""

    numbers: int  # of weights
    activations: float

    def weights(self, width: int) -> float:
        """Return the gigabytes of weights of so many bytes."""
        return self.numbers * width / GB


@dataclass(frozen=True)
class Model:
    """What a model needs."""

    network: Part
    autoencoder: Part
    encoders: tuple[Part, ...]
    work: float  # floating-point operations of a call of one row

    def together(self, width: int) -> float:
        """Return the gigabytes of all parts on the device; the autoencoder has 4 bytes a number."""
        parts = (self.network, *self.encoders)
        weights = sum(part.weights(width) for part in parts) + self.autoencoder.weights(4)
        working = max(ROWS * self.network.activations * width / 4, self.autoencoder.activations)
        return weights + working / GB + RESERVE

    def alone(self, width: int) -> float:
        """Return the gigabytes where one part at a time is on the device."""
        encoding = max(part.weights(width) for part in self.encoders)
        sampling = self.network.weights(width) + ROWS * self.network.activations * width / 4 / GB
        decoding = self.autoencoder.weights(4) + self.autoencoder.activations / GB
        return max(encoding, sampling, decoding) + RESERVE


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages that operations made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs)):
            self._add(each, counted=False)  # weights and inputs, of which an operation may return a view
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            self._add(each, counted=True)
        return out

    def _add(self, value: Any, *, counted: bool) -> None:
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if counted else 0
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class AttentionWithoutMaps(TorchFunctionMode):
    """Attention as fused kernels do it: its maps take no memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **given)
        query, _, value = args[:3] if args else (given[name] for name in ("query", "key", "value"))
        return query.new_empty(*query.shape[:-1], value.shape[-1])


@torch.no_grad()
def count(published: Published) -> Model:
    """Count what a model needs for one picture of its side."""
    with torch.device("meta"):
        network, autoencoder = published.network().eval(), published.autoencoder().eval()
        encoders = tuple(Part(numbers(make()), 0.0) for make in published.encoders)
        latents = torch.empty(1, *published.latents)
    channels, rows, columns = published.latents
    packs = type(network).__name__.startswith("Flux")
    x = torch.empty(1, rows * columns // PATCH**2, channels * PATCH**2, device="meta") if packs else latents
    given = published.arguments(x)
    with FlopCounterMode(display=False) as flops:
        network(**given)
    calling, decoding = (_activations(run) for run in (lambda: network(**given), lambda: autoencoder.decode(latents)))
    return Model(
        Part(numbers(network), calling),
        Part(numbers(autoencoder), decoding),
        encoders,
        flops.get_total_flops(),
    )


def _activations(run: Callable[[], Any]) -> float:
    """Return the most bytes of live tensors that a run makes."""
    with AttentionWithoutMaps(), LiveTensors() as live:
        run()
    return float(live.most)


def numbers(module: nn.Module) -> int:
    """Return how many numbers a module holds: its parameters, and buffers such as embeddings of positions."""
    return sum(each.numel() for each in (*module.parameters(), *module.buffers()))


def run(names: Sequence[str]) -> Section:
    found = {name: count(MODELS[name]) for name in names}
    sizes: list[tuple[Cell, ...]] = [
        (
            name,
            MODELS[name].side,
            *(sum(part.numbers for part in parts) / GB for parts in ((each.network,), each.encoders)),
            each.autoencoder.numbers / 1e6,
            each.work / 1e12,
            each.autoencoder.activations / GB,
        )
        for name, each in found.items()
    ]
    needs: list[tuple[Cell, ...]] = [(name, *_needs(each).values()) for name, each in found.items()]
    fits: list[tuple[Cell, ...]] = [(name, *(_fit(each, card) for card in CARDS)) for name, each in found.items()]
    return Section(
        [
            Table("Sizes", COLUMNS, sizes, "The last column: gigabytes of activations of the autoencoder."),
            Table("Gigabytes", ("", *WAYS), needs, f"{ROWS} rows a call; the autoencoder is always in float32."),
            Table("The first way that fits", ("", *(f"{card} GB" for card in CARDS)), fits),
        ],
        [{"model": name, **_needs(each)} for name, each in found.items()],
    )


WAYS: dict[str, Callable[[Model], float]] = {  # the fastest first; half is float16 or bfloat16
    "half": lambda model: model.together(2),
    "half, --offload": lambda model: model.alone(2),
    "float32": lambda model: model.together(4),
    "float32, --offload": lambda model: model.alone(4),
}


def _needs(model: Model) -> dict[str, float]:
    return {way: need(model) for way, need in WAYS.items()}


def _fit(model: Model, card: int) -> str:
    return next((way for way, need in _needs(model).items() if need <= card), "none")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(MODELS), metavar="NAMES", help=", ".join(MODELS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    sections.run(["memory"], lambda section: run(names), arguments.json)


if __name__ == "__main__":
    main()
