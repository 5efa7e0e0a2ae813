"""What edit takes where nothing is asked for, by the family of the model: the values of its authors' pipelines."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import pytest

from fastdiff.apps.edit.defaults import FAMILIES, default_preset, preset_of
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.settings import settings_of
from fastdiff.models.registry import EDITABLE_FAMILIES
from fastdiff.solvers.errors import UsageError

LEDITS: dict[str, Any] = {  # which have pipelines of the method itself
    "StableDiffusionPipeline": diffusers.LEditsPPPipelineStableDiffusion,
    "StableDiffusionXLPipeline": diffusers.LEditsPPPipelineStableDiffusionXL,
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": request.param}))
    return str(request.param)


def published(family: str) -> tuple[int, float]:
    """Steps and guidance of the method's pipeline in diffusers, or of the family's own."""

    def value(function: Any, name: str) -> Any:
        return inspect.signature(function).parameters[name].default

    if family in LEDITS:
        method = LEDITS[family]
        return value(method.invert, "num_inversion_steps"), value(method.__call__, "edit_guidance_scale")
    call = getattr(diffusers, family).__call__
    return value(call, "num_inference_steps"), value(call, "guidance_scale")


def options(folder: Path, **given: Any) -> Options:
    return Options(("a.png",), prompt="a cat", model=str(folder), **given)


def test_every_family_has_defaults() -> None:
    assert FAMILIES.keys() == EDITABLE_FAMILIES.keys()


def test_steps_and_guidance_are_the_published_ones(family: str, tmp_path: Path) -> None:
    preset = settings_of(options(tmp_path)).preset
    assert (preset.steps, preset.guidance) == published(family)


def test_a_default_that_is_named_is_the_default(family: str, tmp_path: Path) -> None:
    """As in a picture's record, from which rerun makes it again."""
    silent = settings_of(options(tmp_path))
    assert settings_of(options(tmp_path, preset=silent.name)) == silent
    assert silent.name == default_preset(str(tmp_path)) == FAMILIES[family].preset


def test_options_and_other_presets_are_as_ever(family: str, tmp_path: Path) -> None:
    asked = settings_of(options(tmp_path, steps=7, guidance=2.5)).preset
    assert (asked.steps, asked.guidance) == (7, 2.5)
    others = [name for name in PRESETS if name != FAMILIES[family].preset]
    assert all(preset_of(str(tmp_path), name) == PRESETS[name] for name in others)


def test_the_bundled_model_has_its_own() -> None:
    assert default_preset("scenes") == "quick" and preset_of("scenes", "ledits") == PRESETS["ledits"]


def test_a_model_that_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no model_index\.json"):
        default_preset(str(tmp_path))
