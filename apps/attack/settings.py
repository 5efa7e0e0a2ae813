"""The settings of an attacker: the method's preset, the diffusion prior, and the captions."""

from dataclasses import dataclass
from pathlib import Path

from fastdiff.apps.attack.presets import Preset


@dataclass(frozen=True)
class AttackSettings:
    """Everything that an attacker depends on besides the classifier.

    `method` is the preset's name, for reports. `model` names the diffusion prior. Captions come from `caption` for all
    pictures, from `caption_file` by file name, or from the model `captioner`; else they are a sentence with the class.
    `device` and `dtype` are as in `fastdiff.apps.device.resolve_device`.
    """

    method: str
    preset: Preset
    model: str = "photos"
    caption: str | None = None
    caption_file: Path | None = None
    captioner: str | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
