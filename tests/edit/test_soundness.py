"""What is never an edit: overflow in half precision, with real networks that overflow, and clipped pictures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import tiny_pixart
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor

from fastdiff.apps.edit import editor
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.soundness import check_colours
from fastdiff.cli.main import main
from fastdiff.inversion.registry import FLOW_ONLY
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError

WISH = ("--source", "a fox on grass", "--prompt", "a cat on grass", "--steps", "4")
HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32


def changed(folder: Path, part: str, **factors: float) -> None:
    """Multiply weights whose names end so."""
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    for end, factor in factors.items():
        for name in [name for name in weights if name.endswith(end.replace("__", "."))]:
            weights[name] = weights[name] * factor
    save_file(weights, file, {"format": "pt"})


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Between the layers of its feed-forward networks, numbers are too large for float16, and for it alone."""
    folder = tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")
    grown = {"ff__net__0__proj__weight": 1e5, "ff__net__0__proj__bias": 1e5}
    changed(folder, "transformer", **grown, ff__net__2__weight=1e-5)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()[:96, :128]).save(path)
    return path


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.dtype]]:
    """The precisions of --dtype auto on a device that is fastest in float16; this computer's processor is not."""
    dtypes = [HALF, BRAIN, SINGLE]
    monkeypatch.setattr(editor, "precisions", lambda device, dtype: ("cpu", tuple(dtypes)))
    yield dtypes


def told(photo: Path, name: str = "photo-edit-report.json") -> dict[str, Any]:
    (report,) = json.loads(photo.with_name(name).read_text())["edits"]
    return report


def edit(photo: Path, model: Path, *more: object) -> int:
    return main(["edit", str(photo), *WISH, "--model", str(model), *map(str, more)])


@pytest.mark.parametrize(
    "preset", [name for name, preset in PRESETS.items() if not (name in FLOW_ONLY or preset.distilled)]
)
def test_an_overflow_ends_with_one_sentence_and_writes_no_picture(
    preset: str, overflowing: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(photo, overflowing, "--dtype", "float16", "--preset", preset) == 2
    report, shown = told(photo), capsys.readouterr()
    assert report["status"] == "failed" and report["output"] is None
    assert report["reason"] == (
        "the inversion overflows in float16, so there is no picture to write: give --dtype bfloat16 or --dtype float32"
    )
    assert report["reason"] in shown.err and "Traceback" not in shown.err and "0 edited, 1 failed" in shown.out
    assert not photo.with_name("photo-edit.png").exists()


def test_bfloat16_holds_what_float16_does_not(overflowing: Path, photo: Path) -> None:
    assert edit(photo, overflowing, "--dtype", "bfloat16") == 0
    assert told(photo)["status"] == "edited"


def test_auto_goes_on_in_a_wider_precision_and_says_so(
    overflowing: Path, photo: Path, tries: list[torch.dtype], capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(photo, overflowing) == 0
    said = "computed in bfloat16: this model overflows in float16"
    assert said in told(photo)["reason"] and said in capsys.readouterr().out
    fallen = np.asarray(Image.open(photo.with_name("photo-edit.png")))
    tries[:] = [BRAIN]
    assert edit(photo, overflowing, "-o", photo.with_name("brain.png"), "--dtype", "bfloat16") == 0
    assert np.array_equal(fallen, np.asarray(Image.open(photo.with_name("brain.png"))))


def test_the_model_that_overflows_is_gone_before_the_wider_one_is_loaded(
    overflowing: Path, photo: Path, tries: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[ref[Any]] = []

    def load(*given: Any, **named: Any) -> Any:
        assert not any(network() for network in networks)
        model: Any = load_editable(*given, **named)
        networks.append(ref(model.network))
        return model

    monkeypatch.setattr(editor, "load_editable", load)
    assert edit(photo, overflowing) == 0 and len(networks) == 2


@pytest.mark.parametrize(
    ("part", "ends", "stage"),
    [
        ("transformer", {"proj_out__weight": 1e38, "proj_out__bias": 1e38}, "the inversion"),
        ("vae", {"encoder__conv_out__weight": 1e38, "encoder__conv_out__bias": 1e38}, "the encoding of the picture"),
        ("vae", {"decoder__conv_out__weight": 1e38, "decoder__conv_out__bias": 1e38}, "the decoding of the picture"),
        ("text_encoder", {"final_layer_norm__weight": float("inf")}, "the encoding of the prompt"),
    ],
)
def test_what_overflows_in_the_widest_precision_is_named(
    part: str, ends: dict[str, float], stage: str, photo: Path, tmp_path: Path, tries: list[torch.dtype]
) -> None:
    model = tiny_pixart.write(tmp_path / "model")
    tries[:] = [SINGLE]
    changed(model, part, **ends)
    for _ in range(2 if stage != "the encoding of the prompt" else 0):  # past the largest number of float32
        changed(model, part, **{end: 10.0 for end in ends})
    assert edit(photo, model) == 2
    assert told(photo)["reason"] == (
        f"{stage} overflows in float32, so there is no picture to write: try milder settings, or another model"
    )


def test_no_inversion_is_written_that_is_not_finite(
    overflowing: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = ["invert", str(photo), "--source", "a fox", "--model", str(overflowing), "--steps", "4", "--dtype"]
    assert main([*way, "float16"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the inversion overflows in float16" in error
    assert list(photo.parent.iterdir()) == [photo]
    assert main([*way, "bfloat16"]) == 0


def test_an_inversion_goes_on_in_a_wider_precision(
    overflowing: Path, photo: Path, tries: list[torch.dtype], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["invert", str(photo), "--source", "a fox", "--model", str(overflowing), "--steps", "4"]) == 0
    assert "computed in bfloat16: this model overflows in float16" in capsys.readouterr().out


def test_a_rerun_overflows_as_the_edit_does(overflowing: Path, photo: Path, tries: list[torch.dtype]) -> None:
    assert edit(photo, overflowing, "--preview") == 0
    tries[:] = [HALF]
    for verb in ("rerun", "refine"):
        assert main([verb, str(photo.with_name("photo-preview.png"))]) == 2
        assert not photo.with_name(f"photo-preview-{verb}.png").exists()


def test_a_picture_of_nothing_but_white_is_no_edit(photo: Path, tmp_path: Path) -> None:
    model = tiny_pixart.write(tmp_path / "model")
    file = model / "vae" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"decoder.conv_out.bias": torch.full((3,), 50.0)}, file, {"format": "pt"})
    assert edit(photo, model, "--no-residual") == 2
    assert told(photo)["reason"].startswith("the edit is white all over, which is no picture: lower --guidance")
    assert not photo.with_name("photo-edit.png").exists()
    Image.new("RGB", (128, 96), "white").save(photo)
    assert edit(photo, model, "--no-residual") == 0  # as its input is


def plain(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])[:, None, None].expand(3, 100, 100).clone()


def posterised() -> Tensor:
    return torch.randn(3, 100, 100, generator=torch.Generator().manual_seed(0)).sign()


def drawing(ink: int) -> Tensor:
    """Black lines on white, of this many pixels of 10 000."""
    white = plain(1, 1, 1)
    white.view(3, -1)[:, :ink] = -1
    return white


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (plain(-1, -1, -1), "black all over"),
        (plain(1, -1, -1), "red all over"),
        (drawing(40), "white all over"),
        (posterised(), "clipped in 100% of its pixels"),
    ],
)
def test_clipped_pictures_are_refused_unless_the_input_is_one(picture: Tensor, fault: str) -> None:
    grey = plain(0, 0.1, 0.2)
    with pytest.raises(UsageError, match=f"the edit is {fault}"):
        check_colours(picture, grey)
    check_colours(picture, picture)


def test_line_art_flat_art_and_plain_backgrounds_are_edits() -> None:
    grey = plain(0, 0.1, 0.2)
    flat = plain(1, -1, -1)  # red, with a black and a white shape
    flat[:, :30], flat[:, 60:] = -1, 1
    for picture in (drawing(60), drawing(5000), flat, plain(0.98, 0.98, 0.98), plain(1, 0.9, 1), grey):
        check_colours(picture, grey)
