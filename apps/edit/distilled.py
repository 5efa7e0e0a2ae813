"""The files of distilled models: LoRA files and SpeedUpNets, named ones and the bundled ones that a preset needs."""

from importlib.resources import files
from pathlib import Path

from fastdiff.apps.edit.presets import Preset
from fastdiff.models.catalogue import BUNDLED
from fastdiff.models.lora import LoraFile
from fastdiff.solvers.errors import UsageError

BUNDLED_LORA = "scenes-lcm/adapter_model.safetensors"  # in fastdiff.data: of `fastdiff train lcm scenes`


def bundled_loras(model: str, preset: Preset) -> tuple[LoraFile, ...]:
    """Return the LoRA that the bundled model needs for a preset, if it needs one."""
    if model not in BUNDLED or preset.distilled != "lcm":
        return ()
    return (LoraFile(Path(str(files("fastdiff.data") / BUNDLED_LORA))),)


def bundled_speedup(model: str, preset: Preset) -> Path | None:
    """Return the SpeedUpNet that the bundled model needs for a preset, if it needs one."""
    if model not in BUNDLED or preset.distilled != "speedup":
        return None
    from fastdiff.models.speedup.speedup_file import bundled_path  # imports torch

    return bundled_path()


def loras_of(model: str, preset: Preset, named: tuple[LoraFile, ...]) -> tuple[LoraFile, ...]:
    """Return the LoRA files of an edit. Raises UsageError if none makes the model what the preset `lcm` needs."""
    loras = (*bundled_loras(model, preset), *named)
    if preset.distilled == "lcm" and not loras:
        raise UsageError(
            f"{model} is not distilled to few steps: give a LoRA that does it by --lora, such as that of "
            f"`fastdiff train lcm {model}`"
        )
    return loras


def speedup_of(model: str, preset: Preset, named: Path | None) -> Path | None:
    """Return the file of the SpeedUpNet of an edit, if it has one.

    Raises UsageError if the preset `speedup` lacks one, and for one that another preset would not use.
    """
    if preset.distilled != "speedup":
        if named is not None:
            raise UsageError(f"{named} would not be used: give --preset speedup with --speedup")
        return None
    speedup = named or bundled_speedup(model, preset)
    if speedup is None:
        raise UsageError(
            f"{model} has no SpeedUpNet: give one by --speedup, such as that of `fastdiff train speedup {model}`"
        )
    return speedup
