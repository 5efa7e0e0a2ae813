"""The LoRA files of an edit: those that are named, and before them the bundled one where a preset needs it."""

from importlib.resources import files
from pathlib import Path

from fastdiff.apps.edit.presets import Preset
from fastdiff.models.catalogue import BUNDLED
from fastdiff.models.lora import LoraFile
from fastdiff.solvers.errors import UsageError

BUNDLED_LORA = "scenes-lcm/adapter_model.safetensors"  # in fastdiff.data: of `fastdiff train lcm scenes`


def bundled_loras(model: str, preset: Preset) -> tuple[LoraFile, ...]:
    """Return the LoRA that the bundled model needs for a preset, if it needs one."""
    if model not in BUNDLED or not preset.distilled:
        return ()
    return (LoraFile(Path(str(files("fastdiff.data") / BUNDLED_LORA))),)


def loras_of(model: str, preset: Preset, named: tuple[LoraFile, ...]) -> tuple[LoraFile, ...]:
    """Return the LoRA files of an edit. Raises UsageError if none makes the model what a distilled preset needs."""
    loras = (*bundled_loras(model, preset), *named)
    if preset.distilled and not loras:
        raise UsageError(
            f"{model} is not distilled to few steps: give a LoRA that does it by --lora, such as that of "
            f"`fastdiff train lcm {model}`"
        )
    return loras
