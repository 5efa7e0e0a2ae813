"""Edits by solver files: the solver and the levels of the file, for the model that it was made for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pixart
import torch
from PIL import Image
from torch import Tensor

from fastdiff.apps import full_run
from fastdiff.apps.edit.forecast import cost
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.settings import settings_of
from fastdiff.cli.main import main
from fastdiff.models import fingerprint
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.solver_file import SolverFile

GUIDANCE = 3.0
WAY = (
    "--source",
    "a fox on grass",
    "--prompt",
    "a cat on grass",
    "--preset",
    "direct-p2p",
    "--guidance",
    str(GUIDANCE),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


def write(
    path: Path,
    model: Path,
    recipe: SamplerConfig,
    steps: int = 4,
    coefficients: dict[str, Tensor] | None = None,
    **changes: Any,
) -> Path:
    about: dict[str, Any] = {"model": "tiny", "fingerprint": fingerprint.of_folder(str(model)), "guidance": GUIDANCE}
    data_view = [torch.full((101, 4, 1, 1), value) for value in (1.0, 0.0, 0.0)]
    statistics = dict(zip(("linear", "slope", "offset"), data_view, strict=True))
    tensors = {"4.numbers": torch.zeros(4, 1, dtype=torch.float64), "all.lam": torch.linspace(-8, 8, 101).double()}
    tensors |= {f"all.{name}": value for name, value in statistics.items()} | (coefficients or {})
    SolverFile(**about | changes, configs={steps: recipe}, tensors=tensors, card={}).save(path)
    return path


def write_consistency(path: Path, model: Path, rows: Sequence[Sequence[float]]) -> Path:
    recipe = SamplerConfig("consistency-gradients", "time-uniform", {"base": "dpmpp-2m"})
    return write(path, model, recipe, coefficients={"4.numbers": torch.tensor(rows, dtype=torch.float64)})


def edited(photo: Path, model: Path, *way: object) -> np.ndarray:
    out = photo.with_name("out.png")
    assert main(["edit", str(photo), *WAY, "--model", str(model), "-o", str(out), "--force", *map(str, way)]) == 0
    return np.asarray(Image.open(out))


def test_a_file_stands_for_its_solver_and_levels(model: Path, photo: Path) -> None:
    file = write(photo.with_name("uniform"), model, SamplerConfig("dpmpp-2m", "time-uniform"))
    named = edited(photo, model, "--solver", "dpmpp-2m", "--steps", 4)
    assert np.array_equal(edited(photo, model, "--solver-file", file), named)
    clean = write(photo.with_name("clean"), model, SamplerConfig("dpmpp-2m", "time-uniform+clean"), steps=5)
    assert np.array_equal(edited(photo, model, "--solver-file", clean), named)
    other = write(photo.with_name("karras"), model, SamplerConfig("dpmpp-2m", "karras"))
    assert not np.array_equal(edited(photo, model, "--solver-file", other), named)


def test_statistics_of_the_data_view_are_ddim(model: Path, photo: Path) -> None:
    first = {"order": 1, "corrector": False}
    file = write(photo.with_name("v3"), model, SamplerConfig("v3", "time-uniform", first))
    ddim = edited(photo, model, "--solver", "ddim", "--steps", 4)
    assert np.abs(edited(photo, model, "--solver-file", file).astype(int) - ddim).max() <= 2


def test_previews_invert_by_ddim_where_the_solver_only_samples(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ddim = edited(photo, model, "--solver", "ddim", "--steps", 4)
    file = write_consistency(photo.with_name("ddim"), model, [[0.0] * 3] * 4)
    assert np.array_equal(edited(photo, model, "--solver-file", file, "--preview"), ddim)
    assert main(["edit", str(photo), *WAY, "--model", str(model), "--solver-file", str(file), "--force"]) == 2
    assert "cannot invert" in capsys.readouterr().err
    other = write_consistency(photo.with_name("other"), model, [[0.5, -0.5, 0.0]] * 4)
    assert not np.array_equal(edited(photo, model, "--solver-file", other, "--preview"), ddim)


def test_a_preview_by_a_file_takes_the_steps_of_the_file(model: Path, photo: Path) -> None:
    file = write_consistency(photo.with_name("file"), model, [[0.0] * 3] * 4)
    options = Options(
        (str(photo),), prompt=WAY[3], preset="direct-p2p", model=str(model), guidance=GUIDANCE, solver_file=file
    )
    for preview in (False, True):
        assert cost(settings_of(replace(options, preview=preview))).calls == 2 * 4


def test_a_preview_by_a_file_is_refined_by_the_full_run(model: Path, photo: Path) -> None:
    file = write_consistency(photo.with_name("file"), model, [[0.5, -0.5, 0.0]] * 4)
    edited(photo, model, "--solver-file", file, "--preview")
    finished = photo.with_name("finished.png")
    assert main(["refine", str(photo.with_name("out.png")), "-o", str(finished)]) == 0
    whole = edited(photo, model, "--solver", full_run.SOLVER, "--steps", full_run.STEPS)
    assert np.array_equal(np.asarray(Image.open(finished)), whole)


def test_edits_by_a_file_are_made_again_from_their_png(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(photo.with_name("karras"), model, SamplerConfig("dpmpp-2m", "karras"))
    made = edited(photo, model, "--solver-file", file)
    again = photo.with_name("again.png")
    assert main(["rerun", str(photo.with_name("out.png")), "-o", str(again)]) == 0
    assert np.array_equal(np.asarray(Image.open(again)), made)
    write(file, model, SamplerConfig("dpmpp-2m", "time-uniform"))
    assert main(["rerun", str(photo.with_name("out.png")), "-o", str(again)]) == 2
    assert f"the solver file {file} has changed since out.png was made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "changes", "way", "sentence"),
    [
        (SamplerConfig("dpmpp-2m", "karras"), {"fingerprint": "0" * 64}, (), "made for tiny (network 000000000000)"),
        (SamplerConfig("dpmpp-2m", "karras"), {"guidance": 1.0}, (), "made for guidance 1, and this is 3"),
        (SamplerConfig("dpmpp-2m", "karras"), {}, ("--steps", "5", "--dry-run"), "5 steps: the solver file has 4"),
        (SamplerConfig("evodiff", "karras"), {}, (), "which inverts its picture first"),
        (SamplerConfig("dode", "karras", {"base": "dpmpp-2m"}), {}, (), "fitted for sampling, and cannot invert"),
        (SamplerConfig("dpmpp-2m", "karras"), {}, ("--solver", "ddim"), "no other solver"),
        (SamplerConfig("dpmpp-2m", "karras"), {}, ("--attempts", "2"), "attempts"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    recipe: SamplerConfig,
    changes: dict[str, Any],
    way: tuple[str, ...],
    sentence: str,
    model: Path,
    photo: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write(photo.with_name("file"), model, recipe, **changes)
    assert main(["edit", str(photo), *WAY, "--model", str(model), "--solver-file", str(file), *way]) == 2
    assert sentence in capsys.readouterr().err
    assert not photo.with_name("photo-edit.png").exists()
