"""Finished edits are reused where all that they depend on has the same contents, whatever it is called."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pixart
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file

from fastdiff.apps.edit.identity import fingerprint
from fastdiff.apps.edit.options import Options
from fastdiff.cli.main import main
from fastdiff.models.catalogue import find

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny", sample_size=8)


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def edit(photo: Path, model: Path, *more: object) -> int:
    way = ("--source", "a fox", "--prompt", "a cat", "--steps", "2", "--model", model, *more)
    return main(["edit", str(photo), *map(str, way)])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def train(part: Path) -> None:
    """Change one weight, and leave the size and the time of modification as they are."""
    path = part / WEIGHTS
    before = path.stat()
    weights = load_file(path)
    name = min(weights)
    weights[name] = weights[name] + torch.ones_like(weights[name])
    save_file(weights, path, {"format": "pt"})
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_other_weights_in_the_same_folder_make_another_picture(
    part: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photo.with_name("photo-edit.png")
    assert edit(photo, model) == 0
    first = pixels(out)
    train(model / part)
    assert edit(photo, model) == 0
    assert "done already" not in capsys.readouterr().out
    assert not np.array_equal(pixels(out), first)


def test_equal_files_are_the_same_model(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photo.with_name("photo-edit.png")
    assert edit(photo, model) == 0
    made = out.stat().st_mtime_ns
    for path in model.rglob("*"):
        path.touch()
    (model / "README.md").write_text("about it")
    assert edit(photo, model) == 0
    shutil.copytree(model, model.with_name("copy"))
    shutil.rmtree(model)
    model.with_name("copy").rename(model)
    assert edit(photo, model) == 0
    assert capsys.readouterr().out.count("1 input done already") == 2
    assert out.stat().st_mtime_ns == made


def test_a_mask_counts_by_its_pixels(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = photo.with_name("mask.bmp")
    for pixel, earlier in ((255, 0), (255, 1), (200, 0)):
        Image.new("L", (64, 64), pixel).save(mask)
        assert edit(photo, model, "--mask", mask) == 0
        assert capsys.readouterr().out.count("done already") == earlier


def test_a_bundled_model_under_another_path_is_edited_without_its_recogniser(tmp_path: Path) -> None:
    copy = shutil.copytree(find("scenes"), tmp_path / "scenes")
    named, copied = (
        fingerprint(Options(("x.png",), prompt="a cat", preset="quick", model=str(model))) for model in ("scenes", copy)
    )
    assert named != copied


@pytest.mark.parametrize(("dtype", "same"), [("float32", True), ("bfloat16", False)])
def test_a_precision_counts_and_where_it_is_computed_does_not(dtype: str, same: bool, model: Path) -> None:
    one = Options(("x.png",), prompt="a cat", model=str(model), device="cpu")
    other = replace(one, inputs=("y.png",), dtype=dtype, compile=True, offload=True, jobs=2)
    assert (fingerprint(other) == fingerprint(one)) is same


def test_a_png_is_not_made_again_with_other_files(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, mask = photo.with_name("photo-edit.png"), photo.with_name("mask.bmp")
    Image.new("L", (64, 64), 255).save(mask)
    assert edit(photo, model, "--mask", mask) == 0
    rerun = ("rerun", str(out), "-o", str(photo.with_name("again.png")))
    assert main(list(rerun)) == 0
    assert np.array_equal(pixels(photo.with_name("again.png")), pixels(out))

    Image.new("L", (64, 64), 254).save(mask)
    assert main(list(rerun)) == 2
    assert f"the mask {mask} has changed since photo-edit.png was made" in capsys.readouterr().err
    Image.new("L", (64, 64), 255).save(mask)
    train(model / "transformer")
    assert main(list(rerun)) == 2
    assert f"the model {model} has changed since photo-edit.png was made" in capsys.readouterr().err


def test_a_preview_is_not_finished_by_another_model(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(photo, model, "--preview") == 0
    train(model / "transformer")
    assert main(["refine", str(photo.with_name("photo-preview.png"))]) == 2
    assert "has changed since photo-preview.png was made" in capsys.readouterr().err


def test_what_earlier_versions_wrote_is_made_again(model: Path, photo: Path) -> None:
    out, older = photo.with_name("photo-edit.png"), photo.with_name("older.png")
    assert edit(photo, model) == 0
    with Image.open(out) as image:
        record = json.loads(image.info["fastdiff"])
        del record["digests"]
        text = PngImagePlugin.PngInfo()
        text.add_itxt("fastdiff", json.dumps(record))
        image.save(older, pnginfo=text)
    train(model / "transformer")
    assert main(["rerun", str(older), "-o", str(photo.with_name("again.png"))]) == 0
    assert not np.array_equal(pixels(photo.with_name("again.png")), pixels(out))
