"""Checkpoints in one file: what is loaded is what the folder holds, and what diffusers makes of the file."""

import logging
import shutil
from pathlib import Path
from typing import Any

import ldm_names
import pytest
import tiny_flux
import tiny_sana
import tiny_unet
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastdiff.apps.edit.app import forecast, run
from fastdiff.apps.edit.options import Options
from fastdiff.cli.main import main
from fastdiff.models.catalogue import find
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError

PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_stable_diffusion(tmp_path_factory.mktemp("folder") / "model")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """The weights of the folder in one file."""
    parts = {part: load_file(folder / part / f"{name}.safetensors") for part, name in PARTS.items()}
    path = folder.parent / "model.safetensors"
    save_file({key: value.contiguous() for key, value in ldm_names.checkpoint(**parts).items()}, path)
    return path


@pytest.fixture(scope="module")
def configs(folder: Path) -> Path:
    """The folder without its weights."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(folder, folder.parent / "configs", ignore=ignored))


def networks(model: Any) -> list[nn.Module]:
    return [model.network, model.vae, model.text_encoders[0].encoder]


def test_a_checkpoint_is_the_folder_that_it_was_made_of(folder: Path, file: Path, configs: Path) -> None:
    theirs: Any = StableDiffusionPipeline.from_single_file(str(file), config=str(configs), local_files_only=True)
    whole, ours = load_editable(str(folder)), load_editable(str(file), config=configs)
    same(networks(ours), networks(whole))
    same(networks(ours), [theirs.unet, theirs.vae, theirs.text_encoder])
    assert not any(weight.requires_grad for each in networks(ours) for weight in each.parameters())
    half = load_editable(str(file), dtype=torch.bfloat16, config=configs)
    assert [{weight.dtype for weight in each.parameters()} for each in networks(half)] == [
        {torch.bfloat16},
        {torch.float32},
        {torch.bfloat16},
    ]


def test_loading_a_checkpoint_is_silent(file: Path, configs: Path) -> None:
    heard: list[logging.LogRecord] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    handler = Listening()
    diffusers_logging.add_handler(handler)
    try:
        load_editable(str(file), dtype=torch.bfloat16, config=configs)
    finally:
        diffusers_logging.remove_handler(handler)
    assert not heard


def same(ours: list[nn.Module], theirs: list[nn.Module]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        weights, others = one.state_dict(), other.state_dict()
        assert weights.keys() == others.keys() and type(one) is type(other)
        assert all(torch.equal(value, others[key]) for key, value in weights.items())


def test_a_network_alone_takes_the_rest_from_the_folder(tmp_path: Path) -> None:
    """A fine-tuned network, under the names of diffusers."""
    folder = tiny_flux.write(tmp_path / "model")
    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    save_file({key: value * 2 for key, value in weights.items()}, tmp_path / "tuned.safetensors")
    model: Any = load_editable(str(tmp_path / "tuned.safetensors"), config=folder)
    assert all(torch.equal(value, weights[key] * 2) for key, value in model.network.state_dict().items())
    same([model.vae, model.t5.encoder], [(plain := load_editable(str(folder))).vae, plain.t5.encoder])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "lacking", ["model.diffusion_model.out.2.weight", "cond_stage_model.transformer.text_model.final_layer_norm.bias"]
)
def test_weights_that_are_missing_are_named(lacking: str, file: Path, configs: Path, tmp_path: Path) -> None:
    weights = load_file(file)
    (found,) = [key for key in weights if key == lacking]
    del weights[found]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(UsageError, match=r"less\.safetensors (has no numbers for|does not fit)"):
        load_editable(str(tmp_path / "less.safetensors"), config=configs)


def test_a_checkpoint_of_another_family_is_refused(file: Path, configs: Path, tmp_path: Path) -> None:
    flux, wide = tiny_flux.write(tmp_path / "flux"), tmp_path / "wide.safetensors"
    with pytest.raises(UsageError, match=r"model\.safetensors does not fit the transformer of .*give --config"):
        load_editable(str(file), config=flux)
    key = "model.diffusion_model.time_embed.0.weight"
    save_file(load_file(file) | {key: torch.zeros(3, 3)}, wide)
    with pytest.raises(UsageError, match=r"wide\.safetensors does not fit the unet of"):
        load_editable(str(wide), config=configs)
    with pytest.raises(UsageError, match="holds no weights"):
        save_file({key: value for key, value in load_file(file).items() if "first_stage" not in key}, wide)
        load_editable(str(wide), config=configs)


def test_weights_without_a_place_are_refused(tmp_path: Path) -> None:
    """Left out, a network that was distilled with guidance would ignore it."""
    dev = tiny_flux.write(tmp_path / "dev") / "transformer" / "diffusion_pytorch_model.safetensors"
    schnell = tiny_flux.write(tmp_path / "schnell", shift=tiny_flux.SCHNELL, guidance_embeds=False)
    with pytest.raises(UsageError, match=r"these have no place for time_text_embed\.guidance_embedder"):
        load_editable(str(dev), config=schnell)


def test_positions_that_no_file_holds_are_refused(tmp_path: Path) -> None:
    """Those of Sana for 4096 pixels, which its network computes where it is built with its weights."""
    folder = tiny_sana.write(tmp_path / "sana", interpolation_scale=2)
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UsageError, match=r"has no numbers for patch_embed\.pos_embed in the transformer of"):
        load_editable(str(file), config=folder)


def test_a_file_that_is_called_as_a_bundled_model_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scenes").write_text("notes")
    assert (find("scenes") / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "FILE"], "is a single file: `fastdiff edit` takes it with --config"),
        (["--model", "old.ckpt", "--config", "CONFIGS"], "old.ckpt is pickled"),
        (["--model", "old.ckpt"], "old.ckpt is pickled"),
        (["--model", "diffusion_pytorch_model.bin"], "convert it to .safetensors first"),
        (["--model", "notes.txt"], "notes.txt is no checkpoint: give a .safetensors file"),
        (["--model", "scenes", "--config", "CONFIGS"], "--config is for a .safetensors file"),
        (["--model", "absent.safetensors", "--config", "CONFIGS"], "cannot read the checkpoint absent.safetensors"),
        (["--model", "broken.safetensors", "--config", "CONFIGS"], "cannot read the checkpoint"),
        (["--model", "FILE", "--config", "nowhere"], "nowhere has no model_index.json"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    given: list[str],
    said: str,
    file: Path,
    configs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old.ckpt", "diffusion_pytorch_model.bin", "notes.txt", "broken.safetensors"):
        Path(name).write_text("no weights")
    before = {*tmp_path.iterdir(), drawn(tmp_path)}
    placed = [{"FILE": str(file), "CONFIGS": str(configs)}.get(word, word) for word in given]
    assert main(["edit", "in.png", "--prompt", "a cat", *placed, "-o", "out.png"]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["rerun", "refine", "invert"])
def test_a_folder_in_place_of_a_picture_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, "."]) == 2
    assert capsys.readouterr().err.startswith("fastdiff: . cannot be read")


def drawn(folder: Path) -> Path:
    pixels: Tensor = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    Image.fromarray(pixels.byte().permute(1, 2, 0).numpy()).save(folder / "in.png")
    return folder / "in.png"


def test_an_edit_with_a_checkpoint_is_made_again(
    folder: Path, file: Path, configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, configs = tmp_path / "mine.safetensors", Path(shutil.copytree(configs, tmp_path / "own"))
    shutil.copy(file, mine)
    common: dict[str, Any] = {"prompt": "a cat", "source": "a fox", "steps": 2, "device": "cpu", "unknown_words": True}
    picture = (str(drawn(tmp_path)),)
    options = Options(picture, model=str(mine), config=configs, out=tmp_path / "one.png", **common)
    plan = forecast(options)
    assert plan.calls > 0 and plan.seconds is None
    run(options)
    run(Options(picture, model=str(folder), out=tmp_path / "two.png", **common))
    one = Image.open(tmp_path / "one.png").tobytes()
    assert one == Image.open(tmp_path / "two.png").tobytes()

    assert main(["rerun", str(tmp_path / "one.png")]) == 0
    assert Image.open(tmp_path / "one-rerun.png").tobytes() == one
    save_file({key: value * 2 for key, value in load_file(file).items()}, mine)
    assert main(["rerun", str(tmp_path / "one.png"), "--force"]) == 2
    assert f"the checkpoint {mine} has changed" in capsys.readouterr().err
    shutil.copy(file, mine)
    with (configs / "tokenizer" / "tokenizer_config.json").open("a") as config:
        config.write(" ")
    assert main(["rerun", str(tmp_path / "one.png"), "--force"]) == 2
    assert f"the config {configs} has changed" in capsys.readouterr().err
