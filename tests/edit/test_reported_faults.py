"""Faults of public reports on editors: files, formats, devices, tables and records, by the real command."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pixart
import torch
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file

from fastdiff.apps.device import resolve_device
from fastdiff.apps.edit import provenance, table
from fastdiff.apps.edit.forecast import LOADING, seconds
from fastdiff.apps.images import picture
from fastdiff.cli.main import main
from fastdiff.models.diffusers_folder import read_weights
from fastdiff.models.pixart import PixArt
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import MissingError, UsageError

FAST = ("--source", "a fox on grass", "--steps", "2")
SAMPLES = Path(__file__).parents[2] / "data" / "samples-edit"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A smooth picture of 96 x 80 pixels."""
    y, x = np.mgrid[:80, :96]
    rgb = np.stack([2 * x, 255 - 2 * y, 128 + 60 * np.sin(x / 9)], axis=-1)
    Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def edit(*arguments: object) -> int:
    return main(["edit", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("layer", ["white", "red", "soft", "grey and alpha", "white and black"])
def test_a_mask_painted_on_a_transparent_layer_is_its_paint(layer: str, tmp_path: Path) -> None:
    alpha, paint = np.zeros((8, 12), np.uint8), np.full((8, 12, 3), 255, np.uint8)
    alpha[:, :4] = 128 if layer == "soft" else 255
    expected = alpha / 255
    if layer == "red":
        paint[:] = (250, 10, 10)
    if layer == "white and black":
        alpha[:, 4:8], paint[:, 4:8] = 255, 0
    image = Image.fromarray(np.dstack([paint, alpha]))
    (image.convert("LA") if layer == "grey and alpha" else image).save(tmp_path / "mask.png")
    assert np.allclose(picture.read_mask(tmp_path / "mask.png", (8, 12))[0, 0].numpy(), expected, atol=1 / 255)


def test_a_mask_without_white_is_refused(tmp_path: Path) -> None:
    Image.new("L", (12, 8)).save(tmp_path / "mask.png")
    with pytest.raises(UsageError, match="black all over"):
        picture.read_mask(tmp_path / "mask.png")


def test_nothing_changes_outside_a_painted_mask(model: Path, photo: Path) -> None:
    layer = np.zeros((80, 96, 4), np.uint8)
    layer[:, :24] = 255
    Image.fromarray(layer).save(photo.with_name("mask.png"))
    wish = (*FAST, "--prompt", "a cat on grass", "--model", model, "--mask", photo.with_name("mask.png"))
    assert edit(photo, *wish) == 0
    changed = (pixels(photo.with_name("photo-edit.png")) != pixels(photo)).any(axis=(0, 2))
    assert changed[:24].any() and not changed[24:].any()


def cut_out(photo: Path, rows: int) -> Path:
    """The photo, transparent in its first rows."""
    rgba = np.dstack([pixels(photo), np.full((80, 96), 255, np.uint8)])
    rgba[:rows] = 0
    Image.fromarray(rgba).save(photo.with_name("cut.png"))
    return photo.with_name("cut.png")


def test_a_cut_out_with_a_wished_background_becomes_opaque_and_says_so(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (cut_out(photo, 40), "--steps", "2", "--model", model, "--source", "a fox")
    assert edit(*way, "--prompt", "a fox on a dog background") == 0
    assert pixels(photo.with_name("cut-edit.png")).shape == (80, 96, 3)
    assert "its transparent places are filled" in capsys.readouterr().out
    assert edit(*way, "--prompt", "a fox", "-o", photo.with_name("same.png")) == 0
    assert np.array_equal(pixels(photo.with_name("same.png")), pixels(photo.with_name("cut.png")))


def test_a_result_among_several_inputs_is_named(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    way = (*FAST, "--prompt", "a cat on grass", "--model", model)
    assert edit(photo, *way, "-o", photo.with_name("first.png")) == 0
    capsys.readouterr()
    assert edit(photo, photo.with_name("first.png"), *way, "-o", photo.with_name("o")) == 0
    said = "left out: 1 earlier result that you named (first.png): give it alone to take it as an input"
    assert said in capsys.readouterr().out
    assert edit(photo.with_name("first.png"), *way, "-o", photo.with_name("second.png")) == 0


def test_a_record_has_names_alone_and_is_found_from_elsewhere(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = photo.parent
    shutil.copytree(model, home / "models" / "tiny")
    mask = np.full((80, 96), 255, np.uint8)
    Image.fromarray(mask).save(home / "mask.png")
    monkeypatch.chdir(home)
    way = ("photo.png", *FAST, "--prompt", "a cat on grass", "--model", "models/tiny", "--mask", "mask.png")
    assert edit(*way, "-o", "out/made.png") == 0
    made = home / "out" / "made.png"
    record = json.loads(Image.open(made).info["fastdiff"])
    assert (record["input"], record["options"]["model"], record["options"]["mask"]) == ("photo.png", "tiny", "mask.png")
    assert str(home).encode() not in made.read_bytes()
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert main(["rerun", "../out/made.png", "-o", "again.png"]) == 0
    assert np.array_equal(pixels(home / "elsewhere" / "again.png"), pixels(made))


def test_a_moved_picture_finds_its_input_beside_itself_or_says_what_is_missing(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(photo, *FAST, "--prompt", "a cat on grass", "--model", model) == 0
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(photo.with_name("photo-edit.png"), moved)
    assert main(["rerun", str(moved / "photo-edit.png")]) == 2
    assert "neither beside it nor in the working folder: put it there" in capsys.readouterr().err
    shutil.copytree(model, moved / "tiny")
    shutil.copy(photo, moved)
    assert provenance.remembered(moved / "photo-edit.png").inputs == (str(moved / "photo.png"),)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_every_kind_of_output_is_made_again_and_can_go_without_a_record(
    suffix: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    Image.open(photo).save(photo, exif=exif)
    way = (photo, *FAST, "--prompt", "a cat on grass", "--model", model)
    whole, out, bare = (photo.with_name(f"{name}{suffix}") for name in ("whole", "again", "bare"))
    assert edit(*way, "-o", whole) == edit(*way, "--no-metadata", "-o", bare) == 0
    assert Image.open(whole).format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    assert main(["rerun", str(whole), "-o", str(out)]) == 0
    assert np.array_equal(pixels(out), pixels(whole))
    assert Image.open(whole).getexif()[ExifTags.Base.Artist] == "somebody"
    assert not Image.open(bare).getexif() and "fastdiff" not in Image.open(bare).info
    assert main(["rerun", str(bare)]) == 2
    assert "does not say how it was made" in capsys.readouterr().err


def test_the_format_of_a_folder_is_chosen_and_must_fit_a_named_file(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (photo, *FAST, "--prompt", "a cat on grass", "--model", model)
    assert edit(*way, "--format", "webp", "-o", photo.with_name("o")) == 0
    assert Image.open(photo.with_name("o") / "photo.webp").format == "WEBP"
    assert edit(*way, "--format", "webp", "-o", photo.with_name("o.jpg")) == 2
    assert edit(*way, "-o", photo.with_name("o.bmp")) == 2
    assert "PNG, JPEG or WebP" in capsys.readouterr().err


def test_a_lossless_output_of_an_unchanged_prompt_is_the_input(model: Path, photo: Path) -> None:
    rgba = pixels(cut_out(photo, 40))
    out = photo.with_name("out.webp")
    assert edit(photo.with_name("cut.png"), *FAST, "--prompt", "a fox on grass", "--model", model, "-o", out) == 0
    assert np.array_equal(pixels(out), rgba)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_the_first_frame_of_an_animation_is_edited(
    suffix: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.open(photo).convert("RGB"), Image.new("RGB", (96, 80), "red")]
    moving = photo.with_name(f"moving{suffix}")
    lossless: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(moving, save_all=True, append_images=frames[1:], **lossless)
    assert edit(moving, *FAST, "--prompt", "a fox on grass", "--model", model, "-o", photo.with_name("o.png")) == 0
    assert "its first frame of 2 was taken" in capsys.readouterr().out
    first = np.asarray(Image.open(moving).convert("RGB"))
    assert np.array_equal(pixels(photo.with_name("o.png")), first)


def test_a_jfif_file_is_a_jpeg_in_folders_too(model: Path, photo: Path) -> None:
    (photo.parent / "in").mkdir()
    Image.open(photo).save(photo.parent / "in" / "shot.jfif", "JPEG")
    assert edit(photo.parent / "in", *FAST, "--prompt", "a fox on grass", "--model", model) == 0
    assert pixels(photo.parent / "in-edit" / "shot.png").shape == (80, 96, 3)


def test_cells_keep_their_lines_and_blank_rows_are_none(tmp_path: Path) -> None:
    path = tmp_path / "edits.csv"
    path.write_text('input,prompt\r\ndog.png,"dog face\non a\r\nred background"\r\n,\r\n\r\ncat.png,a cat\r\n ,  \r\n')
    (first, wish), (second, other) = table.read(path)
    assert (first.name, wish.prompt) == ("dog.png", "dog face on a red background")
    assert (second.name, other.prompt) == ("cat.png", "a cat")
    path.write_text('input,prompt\n"a\nb.png",a cat\n,\nc.png,\n')
    with pytest.raises(UsageError, match="line 5 of"):
        table.read(path)


def test_a_scheduler_of_flow_matching_is_shown_as_such(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "flow"))
    config = folder / "scheduler" / "scheduler_config.json"
    for content, shown in (
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
            "flow matching, shift 3, prediction_type flow",
        ),
        ({"_class_name": "FlowMatchLCMScheduler"}, "flow matching, shift 1, prediction_type flow"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "epsilon"},
            "flow matching, shift 1, prediction_type flow",
        ),
        ({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}, "prediction_type v_prediction"),
    ):
        config.write_text(json.dumps(content))
        assert main(["models", "show", str(folder)]) == 0
        told = capsys.readouterr().out
        assert shown in told and ("epsilon" not in told)


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_a_folder_of_one_variant_is_read(variant: str, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "half"))
    for file in folder.rglob("*.safetensors"):
        save_file({name: each.half() for name, each in load_file(file).items()}, file, {"format": "pt"})
        file.rename(file.with_name(f"{file.stem}.{variant}.safetensors"))
    assert read_weights(folder / "transformer").variant == variant
    loaded, whole = load_editable(str(folder)), load_editable(str(model))
    assert isinstance(loaded, PixArt) and isinstance(whole, PixArt)
    for ours, theirs in ((loaded.network, whole.network), (loaded.vae, whole.vae)):
        for name, value in theirs.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], value, atol=1e-2), name


def test_sharded_variants_are_read(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "shards"))
    part, whole = folder / "transformer", load_editable(str(model)).network.state_dict()
    next(part.glob("*.safetensors")).unlink()
    names, listed = sorted(whole), dict[str, str]()
    for number, chosen in enumerate((names[::2], names[1::2]), 1):
        file = f"diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors"
        save_file({name: whole[name].half() for name in chosen}, part / file, {"format": "pt"})
        listed |= dict.fromkeys(chosen, file)
    index = part / "diffusion_pytorch_model.safetensors.index.fp16.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    loaded = load_editable(str(folder)).network.state_dict()
    assert all(torch.allclose(loaded[name], value, atol=1e-2) for name, value in whole.items())


def test_the_second_of_several_devices_is_taken_and_an_absent_one_is_told(
    monkeypatch: pytest.MonkeyPatch, photo: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1", "float32") == ("cuda:1", torch.float32)
    with pytest.raises(MissingError, match="cuda:0, cuda:1"):
        resolve_device("cuda:2", "float32")
    for name in ("cuda:x", "cuda:-1", "gpu:0"):
        with pytest.raises(UsageError):
            resolve_device(name, "float32")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert edit(photo, *FAST, "--prompt", "a cat", "--model", model, "--device", "cuda:1") == 3
    assert "'cuda:1' is not available here: use --device cpu" in capsys.readouterr().err


def test_guidance_leads_away_from_a_negative_prompt_and_a_rerun_does_so(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (photo, *FAST, "--prompt", "a cat on grass", "--model", model)
    plain, first, second = (photo.with_name(f"{name}.png") for name in ("plain", "first", "second"))
    assert edit(*way, "-o", plain) == edit(*way, "--negative", "a dog", "-o", first) == 0
    assert edit(*way, "--negative", "a stripe", "-o", second) == 0
    assert not np.array_equal(pixels(first), pixels(plain)) and not np.array_equal(pixels(first), pixels(second))
    assert edit(*way, "--negative", "a fox on grass", "-o", photo.with_name("source.png")) == 0
    assert np.array_equal(pixels(photo.with_name("source.png")), pixels(plain))  # the default of this preset
    assert main(["rerun", str(first), "-o", str(photo.with_name("again.png"))]) == 0
    assert np.array_equal(pixels(photo.with_name("again.png")), pixels(first))
    assert edit(*way, "--negative", "a dog", "--guidance", "1") == 2
    assert "guidance of 1 leads away from nothing" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(256, 128), (128, 320)])
def test_beside_the_middle_square_a_swap_changes_nothing_and_backgrounds_are_refused(
    size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = np.asarray(Image.open(SAMPLES / "dog-face.png").convert("RGB"))
    right, down = ((side - 128) // 2 for side in size)
    wide = np.pad(scene, ((down, down), (right, right), (0, 0)), mode="edge")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    way = (tmp_path / "wide.png", "--attempts", "1")
    assert edit(*way, "--prompt", "fox on a blue background") in (0, 4)
    assert "its middle square was edited" in capsys.readouterr().out
    changed = (pixels(tmp_path / "wide-edit.png") != wide).any(2)
    assert changed[down : down + 128, right : right + 128].any()
    changed[down : down + 128, right : right + 128] = False
    assert not changed.any()
    assert edit(*way, "--prompt", "dog face on a red background", "-o", tmp_path / "red.png") == 2
    assert "changes the background of squares alone" in capsys.readouterr().err


def test_a_mild_change_of_the_background_leaves_no_frame_around_the_subject(tmp_path: Path) -> None:
    """The background beside the emoji has the colour that it has far from it."""
    way = ("--prompt", "dog face on a teal background", "--attempts", "1")
    assert edit(SAMPLES / "dog-face.png", *way, "-o", tmp_path / "teal.png") in (0, 4)
    made, before = (pixels(path)[..., :3].astype(int) for path in (tmp_path / "teal.png", SAMPLES / "dog-face.png"))
    blue = np.abs(before - before[0, 0]).max(2) <= 2
    far, near = blue.copy(), blue.copy()
    far[16:112, 16:112], near[:16], near[112:], near[:, :16], near[:, 112:] = False, False, False, False, False
    assert np.abs(np.median(made[far], axis=0) - np.median(made[near], axis=0)).max() < 12


def test_a_forecast_counts_loading_and_every_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An attempt of the bundled model takes about 0.5 s on one core, most of it in the transformer."""
    one, five, ten = (seconds("scenes", 24, edits, tries) for edits, tries in ((1, 1), (1, 5), (10, 1)))
    assert one is not None and five is not None and ten is not None and seconds("scenes", 15, 0, 5) == 0
    assert LOADING < one < LOADING + 2 and 0.3 < (five - one) / 4 < 1 and 0.3 < (ten - one) / 9 < 1.5
    way = (SAMPLES / "dog-face.png", "--prompt", "fox on a blue background", "-o", tmp_path / "out.png")
    assert edit(*way, "--dry-run") == 0
    shortest, longest = (str(timedelta(seconds=round(each))) for each in (one, five))
    assert f"about {shortest} to {longest} on two cores" in capsys.readouterr().out
    assert edit(*way, "--guidance", "3", "--dry-run") == 0
    assert f"about {shortest} on two cores" in capsys.readouterr().out
