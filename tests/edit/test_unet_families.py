"""`fastdiff edit` and its sisters on folders of Stable Diffusion 1, 2 and XL, written by the real pipelines."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_unet
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from PIL import Image
from tiny_transformer import randoms

from fastdiff.apps.edit.control import AttentionMaps
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.presets import PRESETS, Preset
from fastdiff.apps.edit.sampling import Edit
from fastdiff.cli.main import main
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.hooks import attention_layers
from fastdiff.models.registry import load_editable

SOURCE, TARGET = "a fox on ice", "a cat on ice"
WORKING = [name for name, preset in PRESETS.items() if not (preset.merge or preset.distilled)]
WORKING = [name for name in WORKING if PRESETS[name].inversion not in FLOW_ONLY]
V = DDIMScheduler(**tiny_unet.TRAINED, prediction_type="v_prediction", set_alpha_to_one=False, clip_sample=False)
EULER = EulerDiscreteScheduler(**tiny_unet.TRAINED, timestep_spacing="leading")
LEVELS: dict[str, Any] = {  # attention at the full, half and quarter latents, as in Stable Diffusion 1 and 2
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
}
FAMILIES: dict[str, Callable[[Path], Path]] = {
    "stable-diffusion": lambda folder: tiny_unet.write_stable_diffusion(folder, **LEVELS),
    "stable-diffusion-v": lambda folder: tiny_unet.write_stable_diffusion(folder, scheduler=V),
    "stable-diffusion-xl": lambda folder: tiny_unet.write_stable_diffusion(folder, xl=True, scheduler=EULER),
}
EXACT = ("fixed-point", "edit-friendly", "ledits", "o-belm")
BOUNDS = dict.fromkeys(EXACT, 1e-4) | {"lcm": 1e-3}  # of round trips in float32; lcm passes large estimates at noise


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp("model") / request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> EditableModel:
    return load_editable(str(folder))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A smooth picture of 64 x 48 pixels."""
    y, x = np.mgrid[:48, :64]
    rgb = np.stack([4 * x, 255 - 4 * y, 128 + 60 * np.sin(x / 9)], axis=-1)
    path = tmp_path / "photo.png"
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


def edit(photo: Path, folder: Path, *arguments: object) -> int:
    given = ("--source", SOURCE, "--prompt", TARGET, "--model", folder, "--steps", 4, "--force", *arguments)
    return main(["edit", str(photo), *map(str, given)])


def report(photo: Path) -> dict[str, Any]:
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    return dict(told)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("preset", WORKING)
def test_presets_edit(preset: str, folder: Path, photo: Path) -> None:
    assert edit(photo, folder, "--preset", preset) == 0
    told = report(photo)
    assert told["status"] == "edited" and told["preset"] == preset
    assert told["roundtrip_error"] in (0, None)  # None where the source is not sampled beside
    edited = pixels(photo.with_name("photo-edit.png"))
    assert edited.shape == (48, 64, 3) and not np.array_equal(edited, pixels(photo))


def test_a_prompt_that_stays_returns_the_pixels(folder: Path, photo: Path) -> None:
    assert edit(photo, folder, "--prompt", SOURCE) == 0
    assert np.array_equal(pixels(photo.with_name("photo-edit.png")), pixels(photo))
    assert report(photo)["preset"] == "ledits"


def test_words_masks_and_negatives_of_an_edit_that_is_previewed_refined_and_rerun(folder: Path, photo: Path) -> None:
    words = ("--blend", "fox cat", "--emphasize", "cat:1.5", "--release", "on:0.4", "--focus", 0.4)
    assert edit(photo, folder, *words, "--negative", "a dog", "--preview") == 0
    assert main(["refine", str(photo.with_name("photo-preview.png"))]) == 0
    refined = next(photo.parent.glob("photo-preview*refine*.png"))
    assert main(["rerun", str(refined), "-o", str(photo.with_name("again.png"))]) == 0
    assert np.array_equal(pixels(photo.with_name("again.png")), pixels(refined))
    assert not np.array_equal(pixels(refined), pixels(photo))


def test_presets_that_merge_tokens_are_refused_and_another_is_named(
    folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dry in ((), ("--dry-run",)):
        assert edit(photo, folder, "--preset", "dit4edit", *dry) != 0
        told = capsys.readouterr().err.strip()
        assert "needs token merging" in told and "--preset dit4edit-exact" in told and "\n" not in told
    assert edit(photo, folder, "--merge", 0.2) == 2 and "leave out --merge" in capsys.readouterr().err
    assert edit(photo, folder, "--preset", "dit4edit", "--merge", 0, "--dry-run") == 0


def test_presets_for_flow_models_are_refused_and_another_is_named(
    folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dry in ((), ("--dry-run",)):
        assert edit(photo, folder, "--preset", "rf-inversion", *dry) == 2
        told = capsys.readouterr().err.strip()
        assert "needs a flow model" in told and "--preset ledits" in told and "\n" not in told
    assert edit(photo, folder, "--preset", "rf-inversion", "--solver", "ddim", "--dry-run") == 0


@pytest.mark.parametrize("preset", WORKING)
def test_inversion_files_regenerate_the_picture(
    preset: str, folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--source", SOURCE, "--model", folder, "--preset", preset, "--steps", 4, "--strength", 0.5, "--json")
    assert main(["invert", str(photo), *map(str, given)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["roundtrip_error"] <= BOUNDS.get(told["inversion"], math.inf)


def test_models_show_names_the_parts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "StableDiffusion" in told and "unet (diffusers.UNet2DConditionModel)" in told and "64x64" in told


def of(model: EditableModel, preset: Preset, **options: Any) -> Edit:
    shown, wished = (model.encode_prompts([text]) for text in (SOURCE, TARGET))
    return Edit(model, preset, randoms(1, 4, 24, 32), (48, 64), shown, wished, seed=3, **options)


@pytest.mark.parametrize("name", [name for name in INVERTERS if name in BOUNDS])
def test_exact_inversions_return_the_latents(name: str, model: EditableModel) -> None:
    mine = of(model, replace(PRESETS["direct-p2p"], inversion=name, steps=20))
    with torch.inference_mode():
        after = mine.regenerate(mine.invert())
    assert (after - mine.latents).abs().max() <= BOUNDS[name]


def test_maps_of_words_are_recorded_at_a_quarter_of_the_latents(model: EditableModel) -> None:
    mine = of(model, replace(PRESETS["ledits"], steps=2), blend=("fox",))
    rules, maps = mine._control, AttentionMaps()
    f = ControlledDenoiser(mine._denoiser(True, None), model.network, rules, mine.grid, maps)
    with torch.inference_mode():
        f(mine.latents.repeat(2, 1, 1, 1), mine.grid[0])
    assert model.map_grid(mine.latents) == (6, 8)
    assert maps.total is not None and maps.total.shape == (1, 2, 48)
    assert (maps.total[0, 0] > 0).all() and not maps.total[0, 1].any()  # the target has no fox


@pytest.mark.parametrize("first_block", [0.0, 0.5, 1.0])
def test_self_attention_is_shared_from_a_fraction_of_the_layers_on(first_block: float, model: EditableModel) -> None:
    rules = of(model, replace(PRESETS["masactrl"], first_block=first_block))._control
    total = sum(not layer.cross for layer in attention_layers(model.network))
    shared = [layer for layer in range(total) if rules.shared(layer, 1, 2)]
    assert shared == list(range(round(first_block * total), total))


def test_padding_takes_the_attention_of_the_sources_padding(model: EditableModel) -> None:
    """Stable Diffusion attends to padding, and Prompt-to-Prompt replaces its maps by position too."""
    rules = of(model, PRESETS["direct-p2p"])._control.cross_attention
    assert rules is not None
    maps = torch.rand(2, 1, 5, tiny_unet.LENGTH).softmax(-1)
    change = rules.at(0, 10)
    assert change is not None
    source, target = change(maps)
    length = len(model.encode_prompts([SOURCE]).ids[0])
    assert torch.equal(target[..., length:], source[..., length:])
    torch.testing.assert_close(target.sum(-1), torch.ones(1, 5))
