"""Accelerated edits by the real command: what they cost, what they change, and what does not go together."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pixart
import tiny_unet
from PIL import Image
from problems import MIXTURE
from sampling_problems import oracle

from fastdiff.apps.edit.acceleration_choice import ACCELERATIONS, CACHES
from fastdiff.apps.edit.options import Options
from fastdiff.apps.tuning import measure
from fastdiff.apps.tuning.search import Search, write
from fastdiff.cli.main import main
from fastdiff.models.acceleration import registry
from fastdiff.solvers.solver_file import read_solver_file

SCENE = Path(__file__).parents[2] / "data" / "samples-edit" / "dog-face.png"
WAY = ("--source", "dog face on a blue background", "--prompt", "cat face on a blue background", "--preset", "ledits")
STEPS = 12
SHORT = ("--solver", "dpmpp-2m", "--steps", STEPS, "--attempts", "1")
TINY = ("--source", "a fox on grass", "--prompt", "a cat on grass")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache file for edits with the bundled model at guidance 2."""
    path = tmp_path_factory.mktemp("cache") / "cache.safetensors"
    way = ("--nfe", str(STEPS), "--guidance", "2", "--samples", "4", "--budget", "0.6", "-o", str(path))
    assert main(["tune", "scenes", "--accelerate", "first-block", *way]) == 0
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


def edit(out: Path, *way: object, picture: Path = SCENE, prompts: tuple[str, ...] = WAY) -> dict[str, Any]:
    """The report on an edit."""
    assert main(["edit", str(picture), *prompts, "-o", str(out), "--force", *map(str, way)]) in (0, 4)
    report: dict[str, Any] = json.loads(out.with_name(f"{out.stem}-report.json").read_text())["edits"][0]
    return report


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_command_names_the_caches_that_there_are() -> None:
    assert set(CACHES) == set(registry.CACHES) and set(ACCELERATIONS) == {*CACHES, "sada"}


@pytest.mark.parametrize(
    ("name", "both_ways"), [("sada", True), ("first-block", True), ("magcache", False), ("tokens", False)]
)
def test_a_report_says_what_an_acceleration_saved_and_changed(
    name: str, both_ways: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = 30
    report = edit(tmp_path / "out.png", *SHORT, "--steps", steps, "--accelerate", name, "--verify")
    told = report["acceleration"]
    assert (told["name"], told["budget"], told["inversion"]) == (name, 0.5, both_ways)
    assert told["plain_calls"] == 2 * steps and report["calls"] == told["calls"] <= 2 * steps
    share = told["equivalent_calls"] / told["plain_calls"]
    assert share == pytest.approx(0.5 if both_ways else 0.75, abs=0.15)
    assert 0 < told["distance"] < 0.5 and 20 < told["psnr"] < 100
    assert min(told["seconds"], told["plain_seconds"]) > 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert (
        f"ampling of the kept attempts by {name}: {told['calls']} calls, at the cost of {told['equivalent_calls']:.1f}"
        in line
    )
    assert f"without: {2 * steps} calls" in line and f"PSNR {told['psnr']:.1f} dB" in line


@pytest.mark.parametrize(
    "off",
    [("--accelerate", "sada", "--budget", "1"), ("--accelerate", "first-block", "--budget", "1"), ("--parallel", 1)],
)
def test_a_budget_of_everything_gives_the_very_picture_of_the_plain_run(
    off: tuple[object, ...], tmp_path: Path
) -> None:
    plain, out = tmp_path / "plain.png", tmp_path / "out.png"
    assert edit(plain, *SHORT)["acceleration"] == {}
    told = edit(out, *SHORT, *off, "--verify")["acceleration"]
    assert np.array_equal(pixels(plain), pixels(out))
    assert told["calls"] == told["equivalent_calls"] == 2 * STEPS and told["distance"] == 0


def test_the_same_command_gives_the_same_picture_and_a_rerun_too(tmp_path: Path) -> None:
    once, twice, again = (tmp_path / f"{name}.png" for name in ("once", "twice", "again"))
    for out in (once, twice):
        edit(out, *SHORT, "--accelerate", "teacache", "--budget", "0.6")
    assert main(["rerun", str(once), "-o", str(again)]) in (0, 4)
    assert np.array_equal(pixels(once), pixels(twice)) and np.array_equal(pixels(once), pixels(again))


def test_another_acceleration_is_another_request() -> None:
    first, second = (Options(("a.png",), prompt="a cat", accelerate=name) for name in ("sada", "taylor"))
    assert first.acceleration != second.acceleration


def test_parallel_steps_take_fewer_calls_one_after_another_within_a_mask(tmp_path: Path) -> None:
    mask, out = tmp_path / "mask.png", tmp_path / "out.png"
    white = np.zeros((128, 128), np.uint8)
    white[:, :64] = 255
    Image.fromarray(white).save(mask)
    told = edit(out, *SHORT, "--parallel", 6, "--mask", mask, "--verify")["acceleration"]
    assert told["name"] == "parallel" and told["inversion"] and told["budget"] is None
    assert told["calls"] < 2 * STEPS < told["equivalent_calls"]
    assert told["distance"] < 0.3
    assert np.array_equal(pixels(out)[:, 64:], pixels(SCENE)[:, 64:])


def test_attention_control_goes_with_a_cache(model: Path, photo: Path) -> None:
    """Rows that read each other make one decision; the inversion of DDIM is not by a solver, and stays as it is."""
    way = ("--model", model, "--preset", "direct-p2p", "--steps", STEPS, "--accelerate", "taylor", "--verify")
    told = edit(photo.with_name("out.png"), *way, picture=photo, prompts=TINY)["acceleration"]
    assert told["equivalent_calls"] < told["plain_calls"] == 2 * STEPS and not told["inversion"]
    assert np.isfinite(told["distance"]) and told["distance"] > 0


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (("--accelerate", "sad"), "unknown acceleration 'sad', perhaps sada"),
        (("--accelerate", "sada", "--parallel", 4), "give one of them"),
        (("--budget", 0.5), "without --accelerate"),
        (("--verify",), "give --accelerate or --parallel"),
        (("--accelerate", "sada", "--budget", 0), "above 0 and at most 1"),
        (("--accelerate", "sada", "--budget", 1.5), "above 0 and at most 1"),
        (("--accelerate", "sada"), "give --preset ledits --solver dpmpp-2m --steps 50"),
        (("--parallel", 4), "give --preset ledits --solver dpmpp-2m --steps 50"),
        (("--preset", "edit-friendly", "--accelerate", "taylor"), "adds recorded noise at every step"),
        (("--solver", "dpmpp-2m", "--accelerate", "sada", "--preview"), "of which none can be spared"),
        (("--solver", "dpmpp-2m", "--steps", 10, "--accelerate", "taylor"), "give --steps 11 or more"),
        (("--solver", "heun", "--steps", 20, "--accelerate", "first-block"), "more than once in a step"),
        (("--preset", "dit4edit-exact", "--accelerate", "sada"), "give --preset dit4edit"),
        (("--preset", "direct-p2p", "--parallel", 4), "cannot evaluate steps together"),
        (("--solver", "dpmpp-2m", "--blend", "cat", "--parallel", 4), "leave out options of words"),
        (("--solver", "dpmpp-2m", "--accelerate", "taylor", "--compile"), "leave out one of them"),
        (("--preset", "direct-p2p", "--accelerate", "tokens"), "this edit changes attention"),
        (("--preset", "dit4edit", "--accelerate", "tokens"), "leave out options of words and --merge"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_model_is_loaded(
    way: tuple[object, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(SCENE), *WAY[:4], *map(str, way), "--dry-run"]) == 2
    assert re.fullmatch(f"fastdiff: [^\n]*{re.escape(sentence)}[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (("--accelerate", "sada", "--budget", 0.05), "sada in 12 steps cannot meet a budget of 0.05: give 0."),
        (("--accelerate", "blocks", "--budget", 0.05), "a budget of 0.05: the steps and blocks that must compute cost"),
    ],
)
def test_a_budget_out_of_reach_is_refused(
    way: tuple[object, ...], sentence: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(photo), *TINY, *map(str, (*SHORT, "--model", model, *way))]) == 2
    assert sentence in capsys.readouterr().err


def test_a_unet_has_no_blocks_that_caches_know(tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_unet.write_stable_diffusion(tmp_path / "unet")
    way = (*SHORT, "--model", folder, "--accelerate")
    assert main(["edit", str(photo), *TINY, *map(str, (*way, "first-block"))]) == 2
    assert "caches know the blocks of PixArt, Sana, SD3 and FLUX" in capsys.readouterr().err
    told = edit(photo.with_name("out.png"), *way, "sada", picture=photo, prompts=TINY)["acceleration"]
    assert told["calls"] < 2 * STEPS


def test_a_cache_file_brings_solver_and_steps_and_is_bound_to_its_model(
    cache: Path, model: Path, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = tmp_path / "out.png", tmp_path / "again.png"
    way = ("--accelerate", cache, "--guidance", 2)
    report = edit(out, *way, "--verify")
    told = report["acceleration"]
    assert told["name"] == "cache.safetensors" and told["plain_calls"] == 2 * STEPS > told["equivalent_calls"]
    assert (report["options"]["solver"], report["options"]["steps"]) == ("dpmpp-2m", STEPS)
    assert main(["rerun", str(out), "-o", str(again)]) in (0, 4)
    assert np.array_equal(pixels(out), pixels(again))
    capsys.readouterr()
    for more, sentence in (
        (("--guidance", 3), "cache.safetensors was made for --guidance 2.0, and this edit has 3.0"),
        (("--steps", 20), "cache.safetensors was made for --steps 12, and this edit has 20"),
        (("--solver", "ddim"), "cache.safetensors was made for --solver dpmpp-2m, and this edit has ddim"),
        (("--strength", 0.5), "give no strength or attempts"),
        (("--budget", 0.3), "a budget of 0.3 with a cache file"),
    ):
        assert main(["edit", str(SCENE), *WAY, *map(str, (*way, *more)), "--dry-run"]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["edit", str(photo), *TINY, "--model", str(model), *map(str, way)]) == 2
    assert "the cache was made for scenes" in capsys.readouterr().err
    assert main(["edit", str(SCENE), *WAY, "--accelerate", str(SCENE.with_name("rose.png"))]) == 2
    assert "is not a cache file" in capsys.readouterr().err


def test_tune_calibrates_a_cache_for_one_number_of_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for way, sentence in (
        (("scenes",), "give one of --solver and --accelerate"),
        (("scenes", "--accelerate", "taylor", "--solver", "dc"), "give one of --solver and --accelerate"),
        (("scenes", "--solver", "dc", "--budget", "0.5"), "a budget of 0.5 without --accelerate"),
        (("scenes", "--accelerate", "taylor"), "for one number of steps"),
    ):
        assert main(["tune", *way, "-o", str(tmp_path / "out")]) == 2
        assert sentence in capsys.readouterr().err
    other = tmp_path / "letter.txt"
    other.write_text("Dear reader")
    assert main(["tune", "scenes", "--accelerate", "taylor", "--nfe", "12", "-o", str(other)]) == 2
    assert "is not a cache file" in capsys.readouterr().err and other.read_text() == "Dear reader"


def test_search_ranks_accelerated_runs_beside_plain_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "REFERENCE", 50)
    search = Search(oracle(MIXTURE, tmp_path / "model"), (6, 12), samples=4)
    ranking = search.run()
    assert all(each.acceleration is None for each in ranking[6].finalists)
    (runs,) = [each.acceleration for each in ranking[12].finalists if each.acceleration]
    assert list(ranking[12].left_out) == ["first-block"]  # an oracle has no blocks to skip
    assert runs.name == "sada" and 12 < runs.steps <= 24 and runs.cost <= 12
    write(search, ranking, tmp_path / "found.safetensors")
    assert read_solver_file(tmp_path / "found.safetensors").configs[12] == ranking[12].best_plain.config
