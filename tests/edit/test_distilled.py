"""Edits by models that were distilled to few steps: their LoRA or SpeedUpNet, levels, calls, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pixart
import tiny_sana
import torch
from PIL import Image
from safetensors.torch import save_file

from fastdiff.cli.main import main
from fastdiff.models.registry import load_editable
from fastdiff.models.speedup.adapter import begin_speedup
from fastdiff.models.speedup.speedup_file import SpeedUpFile

LAYERS = [f"transformer_blocks.0.attn1.{layer}" for layer in ("to_q", "to_out.0")]
WISH = ("--source", "a fox on grass", "--prompt", "a cat on grass")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def lora(model: Path) -> Path:
    """In PEFT's layout, which needs no PEFT."""
    network: Any = load_editable(str(model)).network
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for layer in LAYERS:
        rows, columns = network.get_submodule(layer).weight.shape
        for side, shape in (("A", (2, columns)), ("B", (rows, 2))):
            pairs[f"base_model.model.{layer}.lora_{side}.weight"] = 0.3 * torch.randn(shape, generator=generator)
    save_file(pairs, model.parent / "lcm.safetensors")
    return model.parent / "lcm.safetensors"


@pytest.fixture(scope="module")
def speedup(model: Path) -> Path:
    """A SpeedUpNet with random changes of its beginning, which would lead away from nothing but the negative prompt."""
    adapter = begin_speedup(load_editable(str(model)).network)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    SpeedUpFile(adapter, "tiny", "0").save(model.parent / "speedup.safetensors")
    return model.parent / "speedup.safetensors"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[:64, :96]
    path = tmp_path / "photo.png"
    Image.fromarray(np.stack([2 * x, 255 - 3 * y, x + y], axis=-1).astype(np.uint8)).save(path)
    return path


def edit(photo: Path, *more: object, preset: str = "lcm") -> int:
    return main(["edit", str(photo), *WISH, "--preset", preset, *map(str, more)])


def sped_up(photo: Path, *more: object) -> int:
    return edit(photo, *more, preset="speedup")


def assert_made_again(photo: Path, edited: Path) -> None:
    assert main(["rerun", str(edited), "-o", str(photo.with_name("again.png"))]) == 0
    again = np.asarray(Image.open(photo.with_name("again.png")))
    assert np.array_equal(again, np.asarray(Image.open(edited)))
    assert not np.array_equal(again, np.asarray(Image.open(photo)))


def assert_refused(photo: Path, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
    assert not photo.with_name("photo-edit.png").exists()


def told(photo: Path) -> dict[str, Any]:
    (report,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    return dict(report)


def test_an_edit_takes_five_calls_and_is_made_again(model: Path, lora: Path, photo: Path) -> None:
    assert edit(photo, "--model", model, "--lora", lora) == 0
    report = told(photo)
    assert (report["status"], report["preset"], report["calls"]) == ("edited", "lcm", 5)  # 4 rows at once, then 4
    assert (report["options"]["steps"], report["options"]["guidance"]) == (4, 1.0)
    assert_made_again(photo, Path(report["output"]))


def test_the_file_counts(model: Path, lora: Path, photo: Path) -> None:
    made = []
    for scale in ("1", "0.5"):
        assert edit(photo, "--model", model, "--lora", f"{lora}:{scale}", "-o", photo.with_name("out.png")) == 0
        made.append(np.asarray(Image.open(photo.with_name("out.png"))))
        photo.with_name("out.png").unlink()
    assert not np.array_equal(made[0], made[1])


def test_an_inversion_file_regenerates_the_picture(
    model: Path, lora: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--source", WISH[1], "--model", model, "--preset", "lcm", "--lora", lora, "--strength", 0.5, "--json")
    assert main(["invert", str(photo), *map(str, given)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["inversion"] == "lcm" and report["calls"] == 1 and report["roundtrip_error"] <= 1e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "is not distilled to few steps: give a LoRA that does it by --lora"),
        (("--solver", "unipc"), "preset lcm has the solver of distilled models"),
        (("--accelerate", "sada"), "preset lcm has the solver of distilled models"),
        (("--steps", "51", "--lora", "LORA"), "51 consistency points at strength 1: there are 50"),
    ],
)
def test_refusals(
    given: tuple[str, ...], message: str, model: Path, lora: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(lora) if each == "LORA" else each for each in given]
    assert edit(photo, "--model", model, *named) == 2
    assert_refused(photo, message, capsys)
    assert edit(photo, "--model", model, *named, "--dry-run") == 2


def test_flow_models_have_no_timesteps(lora: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = tiny_sana.write(photo.parent / "sana")
    assert edit(photo, "--model", flow, "--lora", lora) == 2
    assert "needs a model with timesteps" in capsys.readouterr().err


def made_by(photo: Path, *more: object) -> np.ndarray:
    out = photo.with_name("made.png")
    assert sped_up(photo, "-o", out, "--force", *more) == 0
    return np.asarray(Image.open(out))


def test_an_edit_by_a_speedupnet_takes_five_calls_and_is_made_again(model: Path, speedup: Path, photo: Path) -> None:
    assert sped_up(photo, "--model", model, "--speedup", speedup) == 0
    report = told(photo)
    assert (report["status"], report["preset"], report["calls"]) == ("edited", "speedup", 5)  # 4 rows at once, then 4
    assert report["options"]["speedup"] == str(speedup)
    assert_made_again(photo, Path(report["output"]))


def test_the_speedupnet_and_its_negative_prompt_count(model: Path, speedup: Path, photo: Path) -> None:
    plain = made_by(photo, "--model", model, "--speedup", speedup)
    assert not np.array_equal(plain, made_by(photo, "--model", model, "--speedup", speedup, "--negative", "dog"))
    begun = photo.with_name("begun.safetensors")
    SpeedUpFile(begin_speedup(load_editable(str(model)).network), "tiny", "0").save(begun)
    assert not np.array_equal(plain, made_by(photo, "--model", model, "--speedup", begun))


def test_a_speedupnet_edits_nothing_outside_a_mask(model: Path, speedup: Path, photo: Path) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 32:64] = 255
    Image.fromarray(mask).save(photo.with_name("mask.png"))
    made = made_by(photo, "--model", model, "--speedup", speedup, "--mask", photo.with_name("mask.png"))
    given = np.asarray(Image.open(photo))
    assert np.array_equal(made[mask == 0], given[mask == 0])
    assert not np.array_equal(made, given)


def test_a_changed_speedupnet_makes_no_picture_again(
    model: Path, speedup: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = photo.with_name("own.safetensors")
    file.write_bytes(speedup.read_bytes())
    assert sped_up(photo, "--model", model, "--speedup", file) == 0
    SpeedUpFile(begin_speedup(load_editable(str(model)).network), "tiny", "0").save(file)
    assert main(["rerun", told(photo)["output"], "-o", str(photo.with_name("again.png"))]) == 2
    assert f"the SpeedUpNet file {file} has changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "has no SpeedUpNet: give one by --speedup, such as that of `fastdiff train speedup"),
        (("--speedup", "FILE", "--preset", "ledits"), "would not be used: give --preset speedup with --speedup"),
        (("--speedup", "FILE", "--guidance", "2"), "guidance and attention to prompts built in: leave out --guidance"),
        (("--speedup", "FILE", "--guidance", "0"), "leave out --guidance"),
        (("--speedup", "FILE", "--blend", "fox"), "leave out --blend"),
        (("--speedup", "nothing.safetensors"), "SpeedUpNet file nothing.safetensors: there is no such file"),
        (("--speedup", "nothing.safetensors", "--dry-run"), "there is no such file"),
        (("--speedup", "PHOTO", "--dry-run"), "is not a SpeedUpNet file, or it is damaged"),
        (("--speedup", "FILE", "--solver", "unipc"), "preset speedup has the solver of distilled models"),
        (("--speedup", "PHOTO"), "is not a SpeedUpNet file, or it is damaged"),
        (("--speedup", "OTHER"), "the SpeedUpNet was trained for another network than this PixArtTransformer2DModel"),
    ],
)
def test_refusals_of_a_speedupnet(
    given: tuple[str, ...], message: str, model: Path, speedup: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"FILE": speedup, "PHOTO": photo}
    if "OTHER" in given:
        adapter = begin_speedup(load_editable(str(model)).network)
        adapter.base.copy_(torch.randn(adapter.base.shape, generator=torch.Generator().manual_seed(3)))
        files["OTHER"] = photo.with_name("other.safetensors")
        SpeedUpFile(adapter, "other", "0").save(files["OTHER"])
    assert sped_up(photo, "--model", model, *(str(files.get(each, each)) for each in given)) == 2
    assert_refused(photo, message, capsys)


def test_flow_models_take_no_speedupnet(speedup: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = tiny_sana.write(photo.parent / "sana")
    assert sped_up(photo, "--model", flow, "--speedup", speedup) == 2
    assert "needs a model with timesteps" in capsys.readouterr().err
