"""Nothing that a command was not asked to replace is replaced: docclean, edit and attack on shared folders."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pixart
from PIL import Image
from scans import lightening

from fastdiff.cli.main import main

COMMAND = "import sys; from fastdiff.cli.main import main; sys.exit(main(sys.argv[1:]))"
NET = """
import torch
class Colours(torch.nn.Module):
    side = 32
    names = ("red", "green", "blue")
    def forward(self, x):
        return 60 * x.mean((2, 3))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny network that lightens every page."""
    return lightening(tmp_path_factory.mktemp("weights"), 0.1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def classifier(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path_factory.mktemp("code")
    (folder / "three_colours.py").write_text(NET)
    monkeypatch.chdir(folder)
    return "module:three_colours:Colours"


def page(seed: int = 0, shape: tuple[int, int] = (96, 120)) -> Image.Image:
    """Grey paper with black strokes on it."""
    pixels = np.full(shape, 200 - seed, np.uint8)
    for row in range(10, shape[0] - 10, 12):
        pixels[row : row + 4, 10 : shape[1] - 10] = 20
    return Image.fromarray(pixels)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    page().convert("RGB").save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def docclean(weights: Path, *arguments: object) -> int:
    return main(["docclean", *map(str, arguments), "--ocr", "none", "--weights", str(weights), "--task", "clean"])


def edit(model: Path, *arguments: object) -> int:
    return main(["edit", *map(str, arguments), "--source", "a fox", "--steps", "2", "--model", str(model)])


def attack(classifier: str, *arguments: object) -> int:
    return main(["attack", *map(str, arguments), "--method", "pgd", "--iterations", "2", "--classifier", classifier])


def report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those of the manifest."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".fastdiff" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_report_replaces_no_input_and_no_file_of_others(
    scan: Path, weights: Path, model: Path, classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scan.with_name("letter.txt").write_text("mine")
    os.link(scan, scan.with_name("link.json"))
    before = contents(scan.parent)
    for run in (
        lambda *more: docclean(weights, scan, *more),
        lambda *more: edit(model, scan, "--prompt", "a cat", *more),
        lambda *more: attack(classifier, scan, *more),
    ):
        for name in ("scan.png", "link.json"):
            for force in ((), ("--force",)):
                assert run("--report", scan.with_name(name), *force) == 2
                assert f"{name} is an input of this run: name another output" in capsys.readouterr().err
        assert run("--report", scan.with_name("letter.txt")) == 5
        assert "letter.txt exists and is no earlier result" in capsys.readouterr().err
    assert contents(scan.parent) == before and not scan.with_name(".fastdiff").exists()
    assert docclean(weights, scan, "--report", scan.with_name("letter.txt"), "--force") == 0
    assert report(scan.with_name("letter.txt"))["summary"]["cleaned"] == 1


def test_the_report_of_a_run_without_results_makes_room_for_the_next(scan: Path, weights: Path, model: Path) -> None:
    broken = scan.with_name("broken.png")
    broken.write_text("no picture")
    runs: tuple[tuple[Callable[..., int], str], ...] = (
        (lambda path, *more: docclean(weights, path, *more), "clean"),
        (lambda path, *more: edit(model, path, "--prompt", "a cat", *more), "edit"),
    )
    for run, verb in runs:
        for place in (scan.with_name(verb) / "report.json", scan.with_name(f"{verb}.json")):
            arguments = ("-o", place.parent) if place.name == "report.json" else ("--report", place)
            assert run(broken, *arguments) == 2 and report(place)["summary"]["failed"] == 1
            assert run(broken, *arguments, "--seed", "1") == 2
            assert run(scan, *arguments) == 0 and report(place)["summary"]["failed"] == 0
            kept = place.read_bytes()
            assert run(broken, *arguments) == (2 if place.name == "report.json" else 5)
            assert place.read_bytes() == kept
            assert len(list(place.parent.glob("report*.json"))) == (2 if place.name == "report.json" else 0)
    failed = scan.with_name("failed.json")
    assert docclean(weights, broken, "--report", failed) == 2
    failed.write_text(failed.read_text() + " ")
    assert docclean(weights, scan, "--report", failed) == 5


def test_files_that_a_run_reads_are_never_replaced(
    scan: Path, weights: Path, model: Path, classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scan.parent
    shutil.copy(weights, folder / "w.safetensors")
    page().save(folder / "mask.png")
    (folder / "edits.csv").write_text("input,prompt\nscan.png,a cat\n")
    (folder / "labels.csv").write_text("image,true_label\nscan.png,red\n")
    (folder / "truth").mkdir()
    (folder / "truth" / "scan.txt").write_text("text")
    before = contents(folder)
    attempts = (
        (docclean, (folder / "w.safetensors", scan, "--report", folder / "w.safetensors")),
        (edit, (model, scan, "--prompt", "a cat", "--mask", folder / "mask.png", "-o", folder / "mask.png")),
        (edit, (model, "--csv", folder / "edits.csv", "--report", folder / "edits.csv")),
        (attack, (classifier, scan, "--labels", folder / "labels.csv", "--report", folder / "labels.csv")),
        (edit, (model, scan, "--prompt", "a cat", "--report", model / "model_index.json")),
    )
    for run, arguments in attempts:
        assert run(*arguments, "--force") == 2
        assert "is an input of this run" in capsys.readouterr().err
    text = folder / "truth" / "scan.txt"
    way = ("--truth", text.parent, "--task", "clean", "--report", text, "--force")
    assert main(["docclean", str(scan), *map(str, way)]) == 2
    assert contents(folder) == before


def test_edits_of_other_prompts_stay_and_are_found_again(scan: Path, model: Path) -> None:
    for _ in range(2):
        for number, prompt in enumerate(("a cat", "an owl", "a dog"), 1):
            assert edit(model, scan, "--prompt", prompt) == 0
            name = "scan-edit.png" if number == 1 else f"scan-edit-{number}.png"
            path = scan.with_name("scan-edit-report.json" if number == 1 else f"scan-edit-report-{number}.json")
            (told,) = report(path)["edits"]
            assert (told["output"], told["prompt"]) == (str(scan.with_name(name)), prompt)
        assert len(list(scan.parent.glob("*.png"))) == 4
    out = scan.parent / "out"
    for prompt in ("a cat", "an owl", "a cat"):
        assert edit(model, scan, "--prompt", prompt, "-o", out) == 0
    assert sorted(contents(out)) == ["report-2.json", "report.json", "scan-2.png", "scan.png"]


def test_a_named_file_of_another_request_is_refused_without_force(
    scan: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = scan.with_name("cat.png")
    assert edit(model, scan, "--prompt", "a cat", "-o", out) == 0
    before = out.read_bytes()
    assert edit(model, scan, "--prompt", "an owl", "-o", out) == 5
    assert "cat.png exists and is no earlier result of the same command: give --force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert edit(model, scan, "--prompt", "an owl", "-o", out, "--force") == 0
    assert report(scan.with_name("cat-report.json"))["edits"][0]["prompt"] == "an owl"


@pytest.mark.parametrize("place", ["-o", "--report"])
def test_nothing_is_written_into_the_notes(
    scan: Path, weights: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scan.parent / ".fastdiff" / ("out.png" if place == "-o" else "out.json")
    arguments = ["--ocr", "none", "--weights", str(weights), place, str(target)]
    assert main(["docclean", str(scan), *arguments, "--force"]) == 2
    assert "keeps its notes" in capsys.readouterr().err and not target.parent.exists()


def test_a_changed_input_replaces_its_result_and_a_changed_result_stays(scan: Path, weights: Path) -> None:
    out = scan.with_name("scan-clean.png")
    assert docclean(weights, scan) == 0
    first = out.read_bytes()
    page(40).convert("RGB").save(scan)
    assert docclean(weights, scan) == 0
    assert out.read_bytes() != first and not scan.with_name("scan-clean-2.png").exists()
    page(80).save(out)
    mine = out.read_bytes()
    assert docclean(weights, scan) == 0
    assert out.read_bytes() == mine and scan.with_name("scan-clean-2.png").exists()


def test_a_file_named_like_a_result_is_an_input(tmp_path: Path, weights: Path) -> None:
    for number, name in enumerate(("invoice.png", "invoice-clean.png")):
        page(number).save(tmp_path / name)
    assert docclean(weights, tmp_path, "-o", tmp_path / "out") == 0
    assert sorted(contents(tmp_path / "out")) == ["invoice-clean.png", "invoice.png", "report.json"]
    mine = (tmp_path / "invoice-clean.png").read_bytes()
    assert docclean(weights, tmp_path / "invoice.png") == 0
    assert (tmp_path / "invoice-clean.png").read_bytes() == mine and (tmp_path / "invoice-clean-2.png").exists()


def test_pages_of_a_document_collide_with_nothing(tmp_path: Path, weights: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    page(1).save(folder / "scan.tif", save_all=True, append_images=[page(2)])
    page(3).save(folder / "scan-0001.png")
    (out / "scan-2-0002.png").write_text("mine")
    for _ in range(2):
        assert docclean(weights, folder, "--format", "png", "-o", out) == 0
        pages = report(out / "report.json")["pages"]
        names = [Path(each["output"]).name for each in pages]
        assert names == ["scan-0001.png", "scan-3-0001.png", "scan-3-0002.png"]
        files = {"report.json", "scan-2-0002.png", *names}
        assert set(contents(out)) == files and (out / "scan-2-0002.png").read_text() == "mine"
    page(1).save(folder / "scan.tif", save_all=True, append_images=[page(2), page(4)])
    assert docclean(weights, folder, "--format", "png", "-o", out) == 0
    assert set(contents(out)) == files | {"scan-3-0003.png"}


def test_runs_of_several_commands_into_one_folder_mix_nothing(
    scan: Path, weights: Path, model: Path, classifier: str
) -> None:
    out = scan.parent / "out"
    runs = (
        lambda: docclean(weights, scan, "-o", out),
        lambda: edit(model, scan, "--prompt", "a cat", "-o", out, "--n", 2),
        lambda: attack(classifier, scan, "-o", out),
        lambda: edit(model, scan, "--prompt", "an owl", "-o", out, "--n", 2),
    )
    seen: dict[str, bytes] = {}
    for run in runs:
        assert run() == 0
        now = contents(out)
        assert {name: now[name] for name in seen} == seen
        seen = now
    assert sorted(seen) == [
        "report-2.json",
        "report-3-sheet.png",
        "report-3.html",
        "report-3.json",
        "report-4.json",
        "report.json",
        "scan-1-2.png",
        "scan-1.png",
        "scan-2-2.png",
        "scan-2.png",
        "scan-3-difference.png",
        "scan-3.png",
        "scan.png",
    ]
    for run in runs:
        assert run() == 0
    assert {name: data for name, data in contents(out).items() if name.endswith("png")} == {
        name: data for name, data in seen.items() if name.endswith("png")
    }


def test_inversions_and_pictures_made_again_replace_nothing_of_others(scan: Path, model: Path) -> None:
    mine = [scan.with_name(name) for name in ("scan-inversion.safetensors", "cat-rerun.png", "cat-refine.png")]
    for path in mine:
        path.write_text("mine")
    preview = scan.with_name("cat.png")
    assert edit(model, scan, "--prompt", "a cat", "--preview", "-o", preview) == 0
    made = preview.read_bytes()
    for _ in range(2):
        assert main(["invert", str(scan), "--source", "a fox", "--steps", "2", "--model", str(model)]) == 0
        assert main(["rerun", str(preview)]) == 0
        assert main(["refine", str(preview)]) == 0
    assert [path.read_text() for path in mine] == ["mine"] * 3
    made_again = [path.with_name(f"{path.stem}-2{path.suffix}") for path in mine]
    assert all(path.exists() for path in made_again) and not list(scan.parent.glob("*-3.*"))
    assert main(["rerun", str(preview), "-o", str(preview), "--force"]) == 2
    assert preview.read_bytes() == made
    assert main(["rerun", str(preview), "-o", str(scan), "--force"]) == 2


def test_what_is_left_out_is_told_and_reported(
    scan: Path, weights: Path, model: Path, classifier: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scan.with_name("notes.docx").write_text("")
    (scan.parent / "more").mkdir()
    told = "left out: 1 file of another kind (.docx), 1 sub-folder (give -r)"
    runs: list[tuple[Callable[..., int], object]] = [(docclean, weights), (edit, model), (attack, classifier)]
    for number, (run, first) in enumerate(runs):
        more = ("--prompt", "a cat") if run is edit else ()
        out = scan.parent.parent / f"{scan.parent.name}-{number}"
        assert run(first, scan.parent, "--dry-run", "-o", out, *more) == 0
        assert capsys.readouterr().out.splitlines()[-1] == told and not out.exists()
        assert run(first, scan.parent, "-o", out, *more) == 0
        assert capsys.readouterr().out.splitlines()[-1] == told
        assert report(out / "report.json")["left_out"] == [
            {"path": str(scan.parent / "more"), "reason": "a sub-folder (give -r)"},
            {"path": str(scan.with_name("notes.docx")), "reason": "another kind of file"},
        ]
        shutil.rmtree(out)


@pytest.mark.parametrize("name", ["é" * 125 + ".png", "-o.png", "two\nlines.png", os.fsdecode(b"caf\xe9 1.png")])
def test_odd_names_work(tmp_path: Path, weights: Path, classifier: str, name: str) -> None:
    (tmp_path / "in").mkdir()
    page().convert("RGB").save(tmp_path / "in" / name)
    for _ in range(2):
        assert docclean(weights, tmp_path / "in", "-o", tmp_path / "clean") == 0
        assert attack(classifier, tmp_path / "in", "-o", tmp_path / "attack") == 0
    assert set(contents(tmp_path / "clean")) == {name, "report.json"}
    assert set(contents(tmp_path / "attack")) >= {name, "report.json", "report.html", "report-sheet.png"}
    assert len(contents(tmp_path / "attack")) == 5


def test_a_name_that_would_be_too_long_is_one_sentence(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ("x" * 250 + ".png")
    page().save(path)
    assert docclean(weights, path) == 2
    assert "has 260 bytes, at most 255: name another output" in capsys.readouterr().err
    assert docclean(weights, tmp_path / ("x" * 300 + ".png")) == 2
    assert "does not exist" in capsys.readouterr().err


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_a_second_run_is_refused_while_one_writes_and_a_killed_one_blocks_nobody(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(16):
        page(number, (300, 300)).save(folder / f"{number:02d}.png")
    way = (folder, "-o", out, "--ocr", "none", "--weights", weights, "--task", "clean")
    process = start("docclean", *way, "--jobs", 2)
    while not list(out.glob("*.png")):
        assert process.poll() is None
        time.sleep(0.01)
    assert main(["docclean", *map(str, way), "--seed", "1"]) == 5
    sentence = f"another fastdiff run is writing into {out}: wait for it, or name another output"
    assert sentence in capsys.readouterr().err
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(list(out.glob("*.png")))
    assert 0 < done < 16
    assert main(["docclean", *map(str, way)]) == 0
    told = capsys.readouterr().out
    assert "done already, by an earlier run" in told
    assert len(list(out.glob("*.png"))) == 16 and not (out / ".fastdiff" / "lock").exists()
    assert not [path for path in (out / ".fastdiff").iterdir() if path.suffix != ".json"]


def test_pairs_of_an_earlier_request_stay(scan: Path, classifier: str, tmp_path: Path) -> None:
    way = ("--export-training-pairs", tmp_path / "pairs", "-o", tmp_path / "out")
    assert attack(classifier, scan, "--epsilon", 1, "--step", 0.5, *way) == 0
    before = contents(tmp_path / "pairs")
    with (tmp_path / "pairs" / "pairs.csv").open() as table:
        assert len(list(csv.DictReader(table))) == (len(before) - 1) // 2
    assert attack(classifier, scan, "--epsilon", 1, "--step", 0.5, "--seed", 1, *way) == 5
    assert contents(tmp_path / "pairs") == before
