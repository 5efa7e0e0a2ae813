"""Defaults of edit by the family of a model: the preset, and its steps and guidance. Imports no torch.

They are those of the papers, or of the pipelines that their authors gave to diffusers. None was measured on published
weights.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from fastdiff.apps.edit.presets import PRESETS, Preset
from fastdiff.models.catalogue import BUNDLED, find
from fastdiff.models.diffusers_folder import read_folder


@dataclass(frozen=True)
class FamilyDefault:
    """What edit takes where nothing else is asked for."""

    preset: str
    steps: int
    guidance: float

    @property
    def settings(self) -> Preset:
        return replace(PRESETS[self.preset], steps=self.steps, guidance=self.guidance)


FAMILIES = {  # by the pipeline class of a model folder
    "StableDiffusionPipeline": FamilyDefault("ledits", 30, 5.0),  # LEDITS++ (Brack et al. 2024, arXiv 2311.16711)
    "StableDiffusionXLPipeline": FamilyDefault("ledits", 50, 5.0),  # LEDITS++
    "PixArtAlphaPipeline": FamilyDefault("ledits", 20, 4.5),  # Chen et al. 2023, arXiv 2310.00426
    "PixArtSigmaPipeline": FamilyDefault("ledits", 20, 4.5),  # Chen et al. 2024, arXiv 2403.04692
    "SanaPipeline": FamilyDefault("ledits", 20, 4.5),  # Xie et al. 2024, arXiv 2410.10629
    "StableDiffusion3Pipeline": FamilyDefault("ledits", 28, 7.0),  # Esser et al. 2024, arXiv 2403.03206
    "FluxPipeline": FamilyDefault("rf-inversion", 28, 3.5),  # Rout et al. 2024, arXiv 2410.10792
}


def default_preset(model: str, config: Path | None = None) -> str:
    """Return the name of the default preset of a model.

    On the bundled scenes `quick` is as good as more steps are (benchmarks, sections "defaults" and "edits"); elsewhere
    more is asked of every step. `config` is the folder of the configs of a checkpoint. Raises UsageError and
    MissingError as `find` and `read_folder` do.
    """
    if model in BUNDLED:
        return "quick"
    family = _family(model, config)
    return "ledits" if family is None else family.preset


def preset_of(model: str, name: str, config: Path | None = None) -> Preset:
    """Return the preset of this name for a model: with the values of the family where the preset is its default.

    Raises UsageError and MissingError as `default_preset` does.
    """
    family = None if model in BUNDLED else _family(model, config)
    return family.settings if family is not None and family.preset == name else PRESETS[name]


def _family(model: str, config: Path | None) -> FamilyDefault | None:
    return FAMILIES.get(read_folder(find(model, config)).pipeline)
