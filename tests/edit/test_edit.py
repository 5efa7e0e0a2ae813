"""`fastdiff edit` and `fastdiff rerun` on real files, with a tiny model of random weights."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_pixart
from known import known
from PIL import Image, PngImagePlugin
from safetensors import safe_open

from fastdiff.apps.edit import provenance
from fastdiff.apps.edit.identity import named_files
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.report import EditReport
from fastdiff.apps.running import output_manifest
from fastdiff.apps.running.run import request_digest
from fastdiff.cli.main import main
from fastdiff.inversion.registry import FLOW_ONLY

FAST = ("--source", "a fox on grass", "--steps", "4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart.write(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A smooth picture of 120 x 90 pixels."""
    y, x = np.mgrid[:90, :120]
    rgb = np.stack([2 * x, 255 - 2 * y, 128 + 60 * np.sin(x / 9)], axis=-1)
    path = tmp_path / "photo.png"
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


def edit(*arguments: object) -> int:
    return main(["edit", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_an_edit_that_wishes_for_nothing_new_returns_the_pixels(model: Path, photo: Path) -> None:
    assert edit(photo, *FAST, "--prompt", "a fox on grass", "--model", model) == 0
    assert np.array_equal(pixels(photo.with_name("photo-edit.png")), pixels(photo))
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    assert told["preset"] == "ledits"  # of models that are named


def test_guidance_is_rescaled_and_limited_and_a_rerun_repeats_both(model: Path, photo: Path) -> None:
    whole, out = photo.with_name("whole.png"), photo.with_name("out.png")
    way = (photo, *FAST, "--prompt", "a cat on grass", "--model", model)
    limits = ("--guidance-rescale", "0.7", "--guidance-interval", "0.2", "0.6")
    assert edit(*way, "-o", whole) == edit(*way, *limits, "-o", out) == 0
    assert not np.array_equal(pixels(out), pixels(whole))
    (told,) = json.loads(photo.with_name("out-report.json").read_text())["edits"]
    assert (told["options"]["guidance_rescale"], told["options"]["guidance_interval"]) == (0.7, [0.2, 0.6])
    assert main(["rerun", str(out), "-o", str(photo.with_name("again.png"))]) == 0
    assert np.array_equal(pixels(photo.with_name("again.png")), pixels(out))
    assert edit(*way, *limits[2:], "-o", whole, "--guidance-interval", "0.6", "0.2") == 2
    assert edit(*way, "--guidance-rescale", "1.5", "-o", whole) == 2


def test_options_that_earlier_versions_had_not_leave_their_requests_as_they_were() -> None:
    plain = request_digest("edit", Options(("a.png",), prompt="a cat"))
    without = [each.name for each in fields(Options) if each.name.startswith("guidance_")]
    assert len(without) == 2 and plain == request_digest("edit", Options(("a.png",), prompt="a cat"), without=without)
    assert plain != request_digest("edit", Options(("a.png",), prompt="a cat", guidance_rescale=0.5))


@pytest.mark.parametrize(
    "preset", [name for name, preset in PRESETS.items() if not (name in FLOW_ONLY or preset.distilled)]
)
def test_every_preset_edits_and_reports(preset: str, model: Path, photo: Path) -> None:
    assert edit(photo, *FAST, "--prompt", "a cat on grass", "--model", model, "--preset", preset) == 0
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    assert told["status"] == "edited" and told["preset"] == preset and told["options"]["steps"] == 4
    assert told["calls"] >= 5 and told["seconds"] > 0 and told["codec_ceiling"] is not None
    alone = preset in ("ledits", "quick")  # which do not sample the source again
    assert told["roundtrip_error"] == (None if alone else 0)
    edited = pixels(Path(told["output"]))
    assert edited.shape == (90, 120, 3) and not np.array_equal(edited, pixels(photo))


def test_nothing_changes_outside_the_mask(model: Path, photo: Path) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[:, :24] = 255
    Image.fromarray(mask).save(photo.with_name("mask.bmp"))
    wish = ("--prompt", "a cat on grass", "--model", model, "--mask", photo.with_name("mask.bmp"))
    assert edit(photo, *FAST, *wish, "-o", photo.with_name("out.png")) == 0
    changed = (pixels(photo.with_name("out.png")) != pixels(photo)).any(axis=(0, 2))
    assert changed[:24].all() and not changed[24:].any()


def test_the_same_seed_gives_the_same_picture_and_a_png_can_be_made_again(model: Path, photo: Path) -> None:
    wish = (*FAST, "--prompt", "a cat on grass", "--model", model)
    assert edit(photo, *wish, "--n", "2", "-o", photo.with_name("both")) == 0
    first, second = (photo.with_name("both") / f"photo-{number}.png" for number in (1, 2))
    assert not np.array_equal(pixels(first), pixels(second))
    assert edit(photo, *wish, "--seed", "1", "-o", photo.with_name("alone.png")) == 0
    assert np.array_equal(pixels(photo.with_name("alone.png")), pixels(second))
    assert main(["rerun", str(second), "-o", str(photo.with_name("again.png"))]) == 0
    assert np.array_equal(pixels(photo.with_name("again.png")), pixels(second))


def test_a_preview_is_finished_to_what_the_edit_would_have_been(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = (photo, "--source", "a fox on grass", "--prompt", "a cat on grass", "--model", model, "--steps", "8")
    assert edit(*wish, "--preview", "--n", "2") == 0
    assert "a preview, which `fastdiff refine` finishes" in capsys.readouterr().out
    preview = photo.with_name("photo-preview-2.png")
    assert provenance.refined(preview).attempts == 1  # others are of other noise
    assert main(["refine", str(preview)]) == 0
    assert edit(*wish, "--seed", "1") == 0
    whole = photo.with_name("photo-edit.png")
    assert np.array_equal(pixels(photo.with_name("photo-preview-2-refine.png")), pixels(whole))
    assert not np.array_equal(pixels(preview), pixels(whole))
    (told, _) = json.loads(photo.with_name("photo-preview-report.json").read_text())["edits"]
    assert told["calls"] == 5 and told["options"]["preview"]
    assert main(["refine", str(whole)]) == 2
    assert "photo-edit.png is finished" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["ledits", "edit-friendly", "direct-p2p", "dit4edit-exact"])
def test_a_dry_run_tells_the_calls_and_the_time_and_does_nothing(
    preset: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = (photo, *FAST, "--prompt", "a cat on grass", "--model", model, "--preset", preset, "--n", "2")
    assert edit(*wish, "--dry-run") == 0
    foreseen = capsys.readouterr().out
    assert not list(photo.parent.glob("photo-*")) and "photo-edit-2.png: a cat on grass" in foreseen
    assert edit(*wish) == 0
    calls = json.loads(photo.with_name("photo-edit-report.json").read_text())["summary"]["calls"]
    spared = {"dit4edit-exact": 2}.get(preset, 0)  # O-BELM knows the second state of each run beforehand
    assert f"2 edits to do, {calls + spared} network calls, about 0:00:05 on two cores" in foreseen
    assert edit(*wish, "--dry-run") == 0
    assert "0 edits to do, 0 network calls" in capsys.readouterr().out


def test_ways_to_steer_words_and_guidance_are_told_and_change_the_picture(model: Path, photo: Path) -> None:
    wish = (*FAST, "--prompt", "a cat on grass", "--model", model, "--seed", "2")
    assert edit(photo, *wish, "-o", photo.with_name("plain.png")) == 0
    for number, asked in enumerate((("--focus", "0.6"), ("--emphasize", "cat:4"), ("--release", "cat:0.2"))):
        out = photo.with_name(f"{number}.png")
        preset = ("--preset", "direct-p2p") if asked[0] == "--release" else ()
        assert edit(photo, *wish, *preset, *asked, "-o", out) == 0
        assert not np.array_equal(pixels(out), pixels(photo.with_name("plain.png")))
        (told,) = json.loads(out.with_name(f"{number}-report.json").read_text())["edits"]
        assert str(told["options"][asked[0][2:]]).strip("[']") == asked[1]
        assert main(["rerun", str(out), "-o", str(photo.with_name("again.png")), "--force"]) == 0
        assert np.array_equal(pixels(photo.with_name("again.png")), pixels(out))


def test_a_model_that_rests_off_the_device_edits_alike(model: Path, photo: Path) -> None:
    wish = (*FAST, "--prompt", "a cat on grass", "--model", model)
    assert edit(photo, *wish) == 0
    assert edit(photo, *wish, "--offload", "-o", photo.with_name("other.png")) == 0
    assert np.array_equal(pixels(photo.with_name("other.png")), pixels(photo.with_name("photo-edit.png")))


def test_a_changed_input_is_not_made_again(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edit(photo, *FAST, "--prompt", "a cat", "--model", model) == 0
    Image.new("RGB", (64, 64), "red").save(photo)
    assert main(["rerun", str(photo.with_name("photo-edit.png"))]) == 2
    assert main(["rerun", str(photo)]) == 2
    told = capsys.readouterr().err
    assert "photo.png has changed since photo-edit.png was made" in told
    assert "photo.png does not say how it was made" in told


def test_what_is_made_again_replaces_no_file_of_others_unasked(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(photo, *FAST, "--prompt", "a cat", "--model", model, "--force") == 0
    made, other = photo.with_name("photo-edit.png"), photo.with_name("other.png")
    other.write_text("a file of others")
    assert provenance.remembered(made).outside and not provenance.remembered(made).force
    assert main(["rerun", str(made), "-o", str(other)]) == 5
    assert other.read_text() == "a file of others" and "give --force" in capsys.readouterr().err
    assert main(["rerun", str(made), "-o", str(other), "--force"]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": "a"}, {"model": 5}, {"prompt": None}, {"guidance": "4"}, {"emphasize": [1]}, {"release": "dog:1"}),
        *({"mask": ["mask.png"]}, {"outside": 1}, {"steps": 2.5}),
    ],
    ids=str,
)
def test_a_record_that_was_tampered_with_is_refused(
    changes: dict[str, Any], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered = recorded(photo, Options((str(photo),), prompt="a cat"), changes)
    assert main(["rerun", str(tampered)]) == 2
    assert "does not say how it was made in a way" in capsys.readouterr().err


def test_a_record_decides_nothing_but_how_the_picture_is_edited(photo: Path) -> None:
    options = Options((str(photo),), prompt="a cat", source="a fox", seed=3, preset="ledits", emphasize=("cat:2",))
    strange = {"n": 3, "report": "x", "force": True, "jobs": 9, "device": "cuda", "csv": "edits.csv", "magic": 1}
    assert provenance.remembered(recorded(photo, options, strange)) == options


def recorded(photo: Path, options: Options, changes: dict[str, Any]) -> Path:
    """A PNG with the record of these options after the changes."""
    report = EditReport(str(photo), source=options.source, prompt=options.prompt, seed=options.seed, preset="ledits")
    told = provenance.record(report, options, output_manifest.file_digest(photo), named_files(options))
    told["options"] |= changes
    text = PngImagePlugin.PngInfo()
    text.add_itxt("fastdiff", json.dumps(told))
    Image.open(photo).save(photo.with_name("recorded.png"), pnginfo=text)
    return photo.with_name("recorded.png")


def test_finished_edits_are_not_done_again(model: Path, photo: Path) -> None:
    wish = (photo, *FAST, "--prompt", "a cat", "--model", model)
    assert edit(*wish) == 0
    made = photo.with_name("photo-edit.png").stat().st_mtime_ns
    assert edit(*wish) == 0
    assert photo.with_name("photo-edit.png").stat().st_mtime_ns == made
    assert edit(*wish, "--guidance", "3") == 0
    assert photo.with_name("photo-edit.png").stat().st_mtime_ns == made
    assert photo.with_name("photo-edit-2.png").exists()


def test_alpha_resolution_and_orientation_are_kept(model: Path, tmp_path: Path) -> None:
    rgba = np.full((60, 80, 4), 200, np.uint8)
    rgba[:30, :, 3] = 90
    Image.fromarray(rgba).save(tmp_path / "clear.png", dpi=(300, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgba[..., :3]).save(tmp_path / "turned.jpg", exif=exif)
    assert edit(tmp_path, *FAST, "--prompt", "a cat", "--model", model, "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "clear.png") as clear:
        assert round(clear.info["dpi"][0]) == 300
        assert np.array_equal(np.asarray(clear)[..., 3], rgba[..., 3])
    assert pixels(tmp_path / "out" / "turned.png").shape == (80, 60, 3)


def test_transparent_colours_are_kept_where_nothing_is_edited_and_meant_for_white_elsewhere(
    model: Path, photo: Path
) -> None:
    rgba = np.dstack([pixels(photo), np.full((90, 120), 128, np.uint8)])
    rgba[:20, :, 3] = 0
    Image.fromarray(rgba).save(photo.with_name("clear.png"))
    wish = (photo.with_name("clear.png"), *FAST, "--model", model)
    assert edit(*wish, "--prompt", "a fox on grass") == 0
    assert np.array_equal(pixels(photo.with_name("clear-edit.png")), rgba)
    assert edit(*wish, "--prompt", "a cat on grass", "-o", photo.with_name("cat.png")) == 0
    white = Image.new("RGBA", (120, 90), "white")
    Image.alpha_composite(white, Image.open(photo.with_name("clear.png"))).convert("RGB").save(photo)
    assert edit(photo, *FAST, "--model", model, "--prompt", "a cat on grass") == 0
    again = np.asarray(Image.alpha_composite(white, Image.open(photo.with_name("cat.png"))))[..., :3].astype(int)
    reachable = np.maximum(pixels(photo.with_name("photo-edit.png")).astype(int), 255 - rgba[..., 3:].astype(int))
    assert np.abs(again - reachable).max() <= 1
    assert not np.array_equal(pixels(photo.with_name("cat.png")), rgba)


def rows(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "report.json").read_text())["edits"]


def test_a_table_of_edits_does_what_it_can(model: Path, photo: Path) -> None:
    (photo.parent / "folder").mkdir()
    (photo.parent / "folder" / "other.png").write_bytes(photo.read_bytes())
    table = photo.with_name("edits.csv")
    lines = ("photo.png,a cat,a fox", "folder/../photo.png,a dog,", "lost.png,a dog,", "folder,a dog,", "*.png,a dog,")
    table.write_text("\n".join(["input,prompt,source", *lines]))
    assert edit("--csv", table, "--steps", 2, "--model", model, "-o", photo.with_name("o")) == 4
    first, second, *failed = rows(photo.with_name("o"))
    assert [(each["source"], each["prompt"]) for each in (first, second)] == [("a fox", "a cat"), ("", "a dog")]
    assert "no source prompt" in second["reason"]
    assert [each["status"] for each in failed] == ["failed"] * 3
    for each, sentence in zip(failed, ("lost.png does not exist", "folder is a folder", "*.png does not"), strict=True):
        assert sentence in each["reason"]


def test_a_table_may_name_earlier_results(model: Path, photo: Path) -> None:
    Image.open(photo).save(photo.with_name("photo-edit.png"))
    table = photo.with_name("edits.csv")
    table.write_text("input,prompt\nphoto.png,a cat\nphoto-edit.png,a dog\n")
    assert edit("--csv", table, "--steps", 2, "--model", model, "-o", photo.with_name("o")) == 0
    assert [each["prompt"] for each in rows(photo.with_name("o"))] == ["a cat", "a dog"]


def test_every_edit_has_an_output_of_its_own(model: Path, photo: Path) -> None:
    Image.open(photo).save(photo.with_name("photo-1.png"))
    table = photo.with_name("edits.csv")
    table.write_text("input,prompt\nphoto.png,a cat\nphoto-1.png,a dog\nphoto.png,a fox\n")
    assert edit("--csv", table, "--steps", 2, "--model", model, "-o", photo.with_name("o")) == 0
    told = {Path(each["output"]).name: each["prompt"] for each in rows(photo.with_name("o"))}
    assert told == {"photo-1.png": "a cat", "photo-2.png": "a fox", "photo-1-2.png": "a dog"}
    for name, prompt in told.items():
        assert provenance.remembered(photo.with_name("o") / name).prompt == prompt


@pytest.mark.parametrize(
    ("row", "sentence"),
    [("photo.png,a cat, on grass", "commas in quotes"), ("photo.png, ", "a prompt"), (".,a cat", "give an input")],
)
def test_a_row_that_is_no_edit_stops_the_table(
    row: str, sentence: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo.with_name("edits.csv").write_text(f"input,prompt\n{row}\n")
    assert edit("--csv", photo.with_name("edits.csv")) == 2
    told = capsys.readouterr().err
    assert "line 2 of" in told and sentence in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give pictures and --prompt"),
        (("--prompt", " "), "an empty prompt"),
        (("--prompt", "a cat", "--seed", "-3"), "seed of -3"),
        (("--prompt", "a cat", "--strength", "0"), "strength of 0"),
        (("--prompt", "a cat", "--solver", "magic"), "unknown solver 'magic'"),
        (("--prompt", "a cat", "--solver", "sa-solver"), "fastdiff: inversion by SASolver, which adds noise"),
        (("--prompt", "a cat", "--mask", "lost.png"), "fastdiff: lost.png cannot be read"),
        (("--prompt", "a cat", "--report", "."), "'.' is a directory"),
        (("--prompt", "a cat", "--blend", "zebra"), "'zebra'"),
        (("--prompt", "a cat", "--emphasize", "cat"), "as in stripes:1.5"),
        (("--prompt", "a cat", "--source", "a fox", "--release", "zebra:0.5"), "'zebra'"),
        (("--prompt", "a cat", "--focus", "1"), "focus of 1"),
        (("--prompt", "a cat", "--model", "nowhere/nothing"), "fastdiff models download nowhere/nothing"),
    ],
)
def test_wrong_wishes_are_one_sentence(
    arguments: tuple[str, ...], sentence: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--model" in arguments else (*arguments, "--model", model)
    assert edit(photo, *given) in (2, 3)
    told = capsys.readouterr()
    assert sentence in told.err + told.out and "Traceback" not in told.err
    assert not list(photo.parent.glob("*.part"))


def test_prompts_that_are_too_long_are_told(model: Path, photo: Path) -> None:
    assert edit(photo, *FAST, "--prompt", "a cat " * 200, "--model", model) == 0
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    assert "the model ignored 'cat a cat" in told["reason"]


def test_words_that_the_model_does_not_know_stop_the_edit_unless_it_may_go_on(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (photo, *FAST, "--prompt", "a 狗, an owl & a 狗", "--model", model)
    assert edit(*way, "-o", photo.with_name("stopped.png")) == 2 and not photo.with_name("stopped.png").exists()
    assert "the model does not know the word '狗'; --unknown-words goes on" in capsys.readouterr().err
    assert edit(*way, "--unknown-words") == 0
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    assert told["reason"].endswith("knows; the model does not know the word '狗'")


@pytest.mark.parametrize("preset", ["ledits", "edit-friendly", "dit4edit-exact"])
def test_an_inversion_file_gives_the_picture_back(
    preset: str, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["invert", str(photo), *FAST, "--model", str(model), "--preset", preset]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["roundtrip_error"] < 1e-3 and Path(told["output"]).exists()
    assert told["psnr"] == pytest.approx(told["codec_ceiling"], abs=0.1)
    made = Path(told["output"]).stat().st_mtime_ns
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told and Path(told["output"]).stat().st_mtime_ns == made
    assert main([*arguments, "--seed", "1", "-o", told["output"]]) == 5
    assert "give --force" in capsys.readouterr().err
    assert main([*arguments, "--seed", "1", "-o", told["output"], "--force"]) == 0
    assert Path(told["output"]).stat().st_mtime_ns > made


def test_an_inexact_inversion_says_so(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", str(photo), *FAST, "--model", str(model), "--solver", "ddim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roundtrip_error"] > 1e-2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("photo.png", "-o", "out.PNG"), "out.PNG is named as a picture"),
        (("photo.png", "-o", "."), ". is a folder"),
        (("lost.png",), "lost.png cannot be read: No such file"),
    ],
)
def test_wrong_inversions_are_one_sentence(
    arguments: tuple[str, ...],
    sentence: str,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    assert main(["invert", *arguments]) == 2
    assert sentence in capsys.readouterr().err and not Path("out.PNG").exists()


def test_an_inversion_tells_its_method_and_what_is_worth_knowing(
    model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photo.with_name("photo.safetensors")
    wish = ("--model", str(model), "--steps", "2", "--source", "a 狗", "-o", str(out))
    assert main(["invert", str(photo), *wish, "--preset", "dit4edit"]) == 0
    told = capsys.readouterr()
    assert "worked on at 296 x 222" in told.out and "does not know the word '狗'; its inversion is not" in told.out
    assert told.err == ""
    assert main(["invert", str(photo), *wish, "--force", "--solver", "dpmpp-2m"]) == 0
    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["inversion"])["method"] == "dpmpp-2m"


def test_failures_name_their_picture_once(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (1, 1)).save(photo.with_name("speck.png"))
    photo.with_name("empty.png").touch()
    assert edit(photo.parent, *FAST, "--prompt", "a cat", "--model", model) == 4
    told = capsys.readouterr().err.splitlines()
    assert "failed: empty.png is empty" in told and any(
        "failed: speck.png: a picture of 1 x 1" in line for line in told
    )


def test_depth_that_a_result_lacks_is_told(model: Path, photo: Path) -> None:
    cv2.imwrite(str(photo), known(cv2.imread(str(photo))).astype(np.uint16) * 257)
    assert edit(photo, *FAST, "--prompt", "a cat", "--model", model) == 0
    (told,) = json.loads(photo.with_name("photo-edit-report.json").read_text())["edits"]
    assert told["reason"].endswith("; its 16 bits a channel became 8")
