"""LoRA files in the layout of PEFT: adapter_model.safetensors, and adapter_config.json beside it.

They change a network alone, and are added to its weights, which takes no PEFT. A config of strangers is read by its
scales; adapters that change more than PEFT's plain LoRA does, such as DoRA, or that were made for changed base weights,
such as PiSSA, are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "base_model.model."  # before the path of a layer
CONFIG = "adapter_config.json"  # beside the weights
PLAIN = (None, True, False, "gaussian", "orthogonal", "eva")  # beginnings of a LoRA that leave base weights alone


@dataclass(frozen=True)
class Scales:
    """Settings that scale a LoRA of PEFT: the scale of a layer of rank r is alpha / r, or alpha / sqrt(r).

    `alpha` is r by default; `by_layer` has the alpha of layers, by the end of their path.
    """

    alpha: float | None = None
    by_layer: Mapping[str, float] | None = None
    by_root: bool = False

    def of(self, layer: str, rank: int) -> float:
        """Return the scale of a layer, given its path."""
        own = [value for end, value in (self.by_layer or {}).items() if f".{layer}".endswith(f".{end}")]
        alpha = own[0] if own else self.alpha
        return 1.0 if alpha is None else alpha / (sqrt(rank) if self.by_root else rank)


def is_peft_layout(keys: Iterable[str]) -> bool:
    """True if these are the names of weights in PEFT's layout."""
    names = list(keys)
    return bool(names) and all(name.startswith(PREFIX) for name in names)


def read(path: Path, part: str) -> dict[str, "Tensor"]:
    """Read the weights of a file, by `part` and the path in it, with the scale of its config. Without one it is 1.

    Raises UsageError for a config that is broken, or of another kind than a plain LoRA.
    """
    from safetensors.torch import load_file

    config = path.with_name(CONFIG)
    scales = _scales(config, read_object(config)) if config.is_file() else Scales()
    weights = {}
    for key, weight in load_file(path).items():
        layer, found, _ = key.removeprefix(PREFIX).partition(".lora_B")
        scaled = scales.of(layer, weight.shape[1]) * weight if found and weight.ndim > 1 else weight
        weights[f"{part}.{key.removeprefix(PREFIX)}"] = scaled
    return weights


def fuse(network: "nn.Module", weights: Mapping[str, "Tensor"], scale: float) -> None:
    """Add a LoRA to the weights of a network: matrices by the path of their layer.

    Raises AttributeError for a layer that the network does not have, KeyError for what is no pair of matrices, and
    RuntimeError for shapes that do not fit.
    """
    import torch
    from torch import nn

    layers = sorted({key.rpartition(".lora_")[0] for key in weights})
    pairs = {layer: [f"{layer}.lora_{side}.weight" for side in "AB"] for layer in layers}
    if strangers := weights.keys() - {key for pair in pairs.values() for key in pair}:
        raise KeyError(min(strangers))
    for layer, pair in pairs.items():
        module = network.get_submodule(layer)
        base = cast(nn.Parameter, module.weight)
        down, up = (weights[key].to(base.device).float().flatten(1) for key in pair)
        fused = torch.addmm(base.float().flatten(1), up, down, alpha=scale).view_as(base)
        module.weight = nn.Parameter(fused.to(base.dtype), requires_grad=base.requires_grad)


def _scales(path: Path, config: Mapping[str, Any]) -> Scales:
    kind, begun = config.get("peft_type", "LORA"), config.get("init_lora_weights")
    if kind != "LORA" or config.get("use_dora") or config.get("lora_bias"):
        raise UsageError(f"{path} is of another kind than a plain LoRA, such as DoRA: give a LoRA file")
    if not (begun is None or isinstance(begun, bool) or begun in PLAIN):
        raise UsageError(f"{path} is for base weights that {begun!r} has changed: have PEFT convert it to a plain LoRA")
    alpha, by_layer, by_root = (config.get(name) for name in ("lora_alpha", "alpha_pattern", "use_rslora"))
    numbers = [alpha, *by_layer.values()] if isinstance(by_layer, dict) else [alpha]
    if not (
        (by_layer is None or isinstance(by_layer, dict))
        and (by_root is None or isinstance(by_root, bool))
        and all(each is None or _is_scale(each) for each in numbers)
    ):
        raise UsageError(f"{path} has scales that are no numbers: lora_alpha, alpha_pattern or use_rslora is broken")
    return Scales(alpha, by_layer, bool(by_root))


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and abs(value) < 1e6
