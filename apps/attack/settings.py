"""What an attacker depends on: the method with its changes, the diffusion prior, and what pictures are said to show."""

from dataclasses import dataclass
from pathlib import Path

from fastdiff.apps.attack.presets import Preset


@dataclass(frozen=True)
class AttackSettings:
    """How an attacker attacks every picture.

    `method` is the name of the preset, for reports; `model` names the diffusion prior. Captions are `caption` for all,
    those of `caption_file` by file name, or those of the model `captioner`; else a sentence with the class. `device`
    and `dtype` are as `fastdiff.apps.device.place` takes them.
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
