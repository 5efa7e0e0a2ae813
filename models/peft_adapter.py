"""LoRA files of PEFT, adapter_model.safetensors and its config, for networks into which diffusers loads none."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "base_model.model."  # before the path of a layer
CONFIG = "adapter_config.json"  # beside the weights


def read(path: Path, part: str) -> tuple[dict[str, "Tensor"], None, dict[str, Any]]:
    """Read the weights of a file, by `part` and the path in it, no factors apart, and the settings of its config.

    Without a config the scale is 1. Raises UsageError for a file that is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read the LoRA file {path}: it is broken, or no safetensors file") from error
    weights = {f"{part}.{key.removeprefix(PREFIX)}": weight for key, weight in stored.items()}
    config = path.with_name(CONFIG)
    settings = read_object(config) if config.is_file() else {}
    return weights, None, {f"{part}.{name}": value for name, value in settings.items()}


def inject(network: "nn.Module", weights: Mapping[str, "Tensor"], settings: Mapping[str, Any], name: str) -> None:
    """Add an adapter to a network: weights by the path of their layer, and PEFT's settings for scales.

    Raises the errors of PEFT for weights that do not fit, and KeyError for layers without a pair of matrices.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    layers = sorted({key.partition(".lora_")[0] for key in weights})
    ranks = {layer: len(weights[f"{layer}.lora_A.weight"]) for layer in layers}
    alpha = settings.get("lora_alpha")
    config = LoraConfig(
        r=settings.get("r", next(iter(ranks.values()))),
        lora_alpha=next(iter(ranks.values())) if alpha is None else alpha,
        rank_pattern=ranks,
        alpha_pattern=settings.get("alpha_pattern") or {},
        use_rslora=bool(settings.get("use_rslora")),
        target_modules=layers,
    )
    inject_adapter_in_model(config, network, adapter_name=name)
    set_peft_model_state_dict(network, dict(weights), adapter_name=name)
