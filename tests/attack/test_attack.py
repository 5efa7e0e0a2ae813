"""`fastdiff attack` on real files: the bundled classifier, and a tiny prior of random weights."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fastdiff.apps.attack import attacker
from fastdiff.apps.attack.outputs import placed
from fastdiff.apps.attack.presets import PRESETS
from fastdiff.cli.main import main


def attack(*arguments: object) -> int:
    return main(["attack", *map(str, arguments)])


def report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def distance(a: Path, b: Path) -> float:
    return float(np.abs(pixels(a).astype(int) - pixels(b)).max() / 255)


def told(photo: Path) -> dict[str, Any]:
    (image,) = report(photo.with_name("cat-attack-report.json"))["images"]
    return image


def test_an_attack_end_to_end(photo: Path, prior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack(photo, "--model", prior) == 0
    image, out = told(photo), photo.with_name("cat-attack.png")
    assert image["status"] == "attacked" and image["success_after_png"]
    assert image["after"] != image["before"] == image["true"] and image["after_name"] != image["before_name"]
    assert image["roundtrip_error"] < 1e-5 and image["calls"] > 4 and image["caption"] is None
    assert "is not text-conditioned" in image["reason"]
    assert 0.9 < image["ssim"] < 1 and image["ssim_p10"] < image["ssim"]
    assert image["linf"] == pytest.approx(distance(photo, out))
    assert pixels(out).shape == pixels(photo).shape
    assert set(image["defences"]) == {"jpeg-75", "bit-depth-4", "resize-pad"}
    summary = report(photo.with_name("cat-attack-report.json"))["summary"]
    assert (summary["succeeded"], summary["of"], summary["attack_success_rate"]) == (1, 1, 1.0)
    record = json.loads(Image.open(out).info["fastdiff"])
    assert record["adversarial"] is True and record["classifier"] == "efficientnet-lite0" and record["settings"]
    assert photo.with_name("cat-attack-report-sheet.png").exists()
    assert pixels(photo.with_name("cat-attack-difference.png")).shape == pixels(photo).shape
    shown = capsys.readouterr().out
    assert "1 of 1 succeeded" in shown and "come back to" in shown
    assert "of 1 attacked pictures still fool the classifier behind jpeg-75 (95 % interval" in shown
    assert f"In {out}. Look at {photo.with_name('cat-attack-report.html')}. Report: " in shown


@pytest.mark.parametrize("change", [("--epsilon", 0), ("--iterations", 0)])
def test_no_ball_and_no_iterations_return_the_pixels(change: tuple[str, int], photo: Path, prior: Path) -> None:
    assert attack(photo, "--model", prior, *change) == 0
    image = told(photo)
    failure = photo.parent / "failed" / "cat-attack.png"
    assert distance(photo, failure) == 0 and not photo.with_name("cat-attack.png").exists()
    assert image["status"] == "attacked" and image["success_after_png"] is False and image["output"] == str(failure)
    assert image["after"] == image["before"] and image["psnr"] == 100 and image["ssim"] == 1


FEW = ("--steps", 2, "--iterations", 2)
PGD = ("--method", "pgd", "--iterations", 2)


@pytest.mark.parametrize("method", PRESETS)
def test_every_method_runs(method: str, photo: Path, prior: Path, colours: str) -> None:
    steps = ("--steps", 2) if PRESETS[method].uses_prior else ()
    assert attack(photo, "--model", prior, "--classifier", colours, "--method", method, *steps, "--iterations", 2) == 0
    image = told(photo)
    assert image["method"] == method and image["linf"] > 0 and image["options"]["iterations"] == 2
    assert (image["calls"] is not None) and (image["calls"] > 0) == bool(steps)


@pytest.mark.parametrize("gradient", ["identity", "rgf", "backprop", "backprop-last-k"])
@pytest.mark.parametrize("perturb", ["x_T", "x_k", "maps"])
def test_every_gradient_reaches_everything_that_is_perturbed(
    gradient: str, perturb: str, photo: Path, prior: Path, colours: str
) -> None:
    way = ("--gradient", gradient, "--perturb", perturb, "--iterations", 3, "--confidence", 100)
    assert attack(photo, "--model", prior, "--classifier", colours, *way) == 0
    image = told(photo)
    assert image["linf"] > 0 and image["iterations"] == 3
    assert image["confidence_after"] < image["confidence_before"] or image["success_after_png"]


def test_black_and_white_digits_fall_as_they_do_to_torchattacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its PGD with the same bounds, without a random start, fools the same network with 23 of the 24."""
    shutil.copytree(Path(__file__).parent / "digits", tmp_path / "digits")
    monkeypatch.chdir(tmp_path / "digits")
    way = ("--labels", "labels.csv", "--classifier", "module:digits_net:build", "--batch", 24, "-o", "out")
    assert attack("pictures", *way, "--method", "pgd", "--epsilon", 0.3, "--step", 0.03, "--iterations", 20) == 0
    summary = report(Path("out/report.json"))["summary"]
    assert (summary["succeeded"], summary["of"]) == (23, 24)


@pytest.mark.parametrize("grey", [0, 255])
def test_latents_of_black_and_of_white_pictures_are_moved(grey: int, prior: Path, colours: str, tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (48, 48), (grey, grey, grey)).save(path)
    target = ("--target", "blue", "--confidence", 1, "--epsilon", 2, "--step", 0.1)
    assert attack(path, "--model", prior, "--classifier", colours, *target) == 0
    (image,) = report(tmp_path / "plain-attack-report.json")["images"]
    assert image["after_name"] == "blue" and image["success_after_png"]


def test_a_target_by_name(photo: Path, prior: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = (photo, "--model", prior, "--classifier", colours)
    assert attack(*common, "--target", "bleu") == 2
    assert "did you mean 'blue'" in capsys.readouterr().err
    assert attack(*common, "--target", "Blue", "--epsilon", 2, "--step", 0.1) == 0
    image = told(photo)
    assert (image["target"], image["target_name"], image["after_name"]) == (2, "blue", "blue")
    assert attack(*common, "--target", "red", "--force") == 0
    assert told(photo)["status"] == "skipped" and "sees the target" in told(photo)["reason"]


def test_a_table_of_labels_and_targets(greys: Path, prior: Path, colours: str) -> None:
    (greys.parent / "labels.csv").open("a").write("\n20.png.bak,red,blue,nobody\n")
    Image.new("RGB", (40, 40), (90, 90, 200)).save(greys / "00.png")  # labelled red
    out = greys.parent / "out"
    way = ("--model", prior, "--classifier", colours, "--labels", greys.parent / "labels.csv", "--target", "csv")
    assert attack(greys, *way, "-o", out, "--transfer", "module:colour_net:Colours", "--step", 0.1, "--epsilon", 1) == 0
    images, summary = report(out / "report.json")["images"], report(out / "report.json")["summary"]
    assert images[0]["status"] == "skipped" and images[0]["output"] is None and "wrong" in images[0]["reason"]
    assert (summary["attacked"], summary["skipped"], summary["of"]) == (20, 1, 20)
    assert summary["succeeded"] >= 15
    assert all(image["after"] == image["target"] for image in images if image["success_after_png"])
    for name in ("attack_success_rate", "succeeded", "of", "interval_95", "flags"):
        assert summary["transfer"]["module:colour_net:Colours"][name] == summary[name]
    assert all(Path(image["output"]).exists() for image in images[1:]) and not (out / "00.png").exists()


def test_a_classifier_that_is_mostly_wrong_is_refused(
    greys: Path, prior: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (greys, "--model", prior, "--labels", greys.parent / "labels.csv", "-o", greys.parent / "out")
    assert attack(*way, "--classifier", "module:colour_net:Shifted") == 2
    assert "right about 0 of 21" in capsys.readouterr().err
    table = (greys.parent / "labels.csv").read_text().splitlines()
    shifted = [table[0], *(f"{n:02d}.png,{n % 3 + 1},0,x" for n in range(21))]
    names = greys.parent / "names.txt"
    (greys.parent / "labels.csv").write_text("\n".join(shifted).replace(",3,", ",2,"))
    names.write_text("red\ngreen\nblue\n")
    assert attack(*way, "--classifier", colours, "--classes", names) == 2
    assert "counted from 1" in capsys.readouterr().err
    assert not (greys.parent / "out").exists()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("name,label\n", "has the columns label, name"),
        ("image,true_label\na.png,1\na.png,2\n", "line 3 of .*a.png again"),
        ("image,true_label\na.png,purple\n", "line 2 of .*no class 'purple'"),
        ("image,true_label\na.png,3\n", "counted from 0"),
    ],
)
def test_tables_that_do_not_fit(
    table: str, sentence: str, photo: Path, prior: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo.with_name("labels.csv")
    path.write_text(table)
    assert attack(photo, "--model", prior, "--classifier", colours, "--labels", path) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and "Traceback" not in error


def test_a_table_of_other_pictures_is_refused(photo: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = photo.with_name("labels.csv")
    way = (photo, *PGD, "--classifier", colours, "--labels", table)
    table.write_text("image,true_label\ncat,red\n")
    assert attack(*way) == 2
    assert "names none of the pictures" in capsys.readouterr().err
    table.write_text("image,true_label\ncat.png,red\ndog.png,red\n")
    assert attack(*way, "--target", "csv") == 2
    assert "has no target_label" in capsys.readouterr().err
    assert attack(*way) == 0
    assert report(photo.with_name("cat-attack-report.json"))["summary"]["labelled"] == 1
    assert "1 of 1 picture have a label" in capsys.readouterr().out


def test_folders_of_classes_are_labels(greys: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = greys.parent / "tree"
    for number in range(6):
        place = tree / ("red", "green", "blue")[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(greys / f"{number:02d}.png", place)
    shutil.move(tree / "blue" / "2.png", tree / "red" / "2.png")
    way = (tree, "--recursive", *PGD, "--classifier", colours, "--labels", tree)
    assert attack(*way) == 0
    summary = report(greys.parent / "tree-attack" / "report.json")["summary"]
    assert (summary["labelled"], summary["skipped"], summary["of"]) == (6, 1, 5)
    robust = summary["robust_accuracy"]
    assert (robust["right"], robust["of"]) == (5 - summary["succeeded"], 6)
    low, _ = robust["interval_95"]
    assert f"robust accuracy {robust['right']} of 6 (95 % interval {100 * low:.0f}" in capsys.readouterr().out
    assert attack(*way, "--target", "csv") == 2
    assert attack(tree / "red", *PGD, "--classifier", colours, "--labels", tree / "red") == 2
    assert "--recursive" in capsys.readouterr().err


def test_classifiers_that_cannot_be_compared(photo: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    way = (photo, *PGD, "--classifier", colours)
    assert attack(*way, "--transfer", "efficientnet-lite0") == 2
    assert "no class named like those of module:colour_net:Colours (tench, " in capsys.readouterr().err
    assert attack(*way, "--transfer", "module:colour_net:Fruit") == 2
    assert "(cherry, lime, plum ...; red, green, blue ...)" in capsys.readouterr().err


def test_transfer_finds_classes_by_name(greys: Path, colours: str) -> None:
    others = ("Reordered", "Synonyms")
    tried = [part for name in others for part in ("--transfer", f"module:colour_net:{name}")]
    way = ("--classifier", colours, "--labels", greys.parent / "labels.csv", "-o", greys.parent / "out")
    assert attack(greys, *way, *tried, "--method", "pgd") == 0
    summary = report(greys.parent / "out" / "report.json")["summary"]
    reordered, synonyms = (summary["transfer"][f"module:colour_net:{name}"] for name in others)
    assert (reordered["succeeded"], reordered["of"]) == (summary["succeeded"], 21)
    assert synonyms["of"] == 14, "it has no class green"


def test_logits_that_are_no_numbers_are_refused(photo: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack(photo, *PGD, "--classifier", "module:colour_net:Undefined") == 2
    assert "logits that are not finite" in capsys.readouterr().err
    assert not photo.with_name("cat-attack-report.json").exists()


@pytest.fixture
def overflowing(prior: Path, tmp_path: Path) -> Path:
    """The prior, with numbers inside that float16 does not hold."""
    folder = Path(shutil.copytree(prior, tmp_path / "overflowing"))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file(weights | {"conv_in.weight": weights["conv_in.weight"] * 1e6}, file, {"format": "pt"})
    return folder


def test_a_prior_that_overflows_makes_no_picture(
    photo: Path, overflowing: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way = (photo, "--model", overflowing, "--classifier", colours, *FEW)
    assert attack(*way, "--dtype", "float16") == 2
    assert told(photo)["status"] == "failed" and not photo.with_name("cat-attack.png").exists()
    assert "the diffusion prior overflows in float16" in capsys.readouterr().err
    assert attack(*way, "--dtype", "bfloat16") == 0


def test_auto_attacks_in_a_wider_precision_and_says_so(
    photo: Path, overflowing: Path, colours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that is fastest in float16, which this computer's processor is not."""
    monkeypatch.setattr(attacker, "precisions", lambda device, dtype: ("cpu", (torch.float16, torch.float32)))
    assert attack(photo, "--model", overflowing, "--classifier", colours, *FEW) == 0
    assert "computed in float32: this prior overflows in float16" in told(photo)["reason"]
    assert told(photo)["linf"] > 0


def test_the_same_seed_gives_the_same_file_in_any_batch(greys: Path, prior: Path, colours: str) -> None:
    way = ("--model", prior, "--classifier", colours, *FEW, "--confidence", 50)
    files = [greys / f"{number:02d}.png" for number in range(4)]
    made = {}
    for name, more in {"a": (), "b": ("--batch", 3), "c": ("--seed", 1)}.items():
        assert attack(*files, *way, *more, "-o", greys.parent / name) == 0
        images = report(greys.parent / name / "report.json")["images"]
        made[name] = np.stack([pixels(Path(image["output"])) for image in images]).astype(int)
    assert np.abs(made["a"] - made["b"]).max() <= 1 and (made["a"] != made["b"]).mean() < 0.01
    assert (made["a"] != made["c"]).any()
    assert attack(files[0], *way, "-o", greys.parent / "again.png") == 0
    (image,) = report(greys.parent / "again-report.json")["images"]
    assert (pixels(Path(image["output"])) == made["a"][0]).all()


def test_finished_attacks_are_not_done_again(photo: Path, prior: Path, colours: str) -> None:
    way = (photo, "--model", prior, "--classifier", colours, *FEW)
    assert attack(*way) == 0
    out = Path(told(photo)["output"])
    made = out.stat().st_mtime_ns
    before = report(photo.with_name("cat-attack-report.json"))
    assert attack(*way) == 0
    assert out.stat().st_mtime_ns == made
    assert report(photo.with_name("cat-attack-report.json")) == before
    assert attack(*way, "--momentum", 0.5) == 0
    assert out.stat().st_mtime_ns == made
    assert out.with_name("cat-attack-2.png").exists() or placed(photo.with_name("cat-attack-2.png"), False).exists()


def test_a_network_that_was_trained_again_is_attacked_again(photo: Path, colours: str) -> None:
    way = (photo, *PGD, "--classifier", colours, "--transfer", "module:colour_net:Trained")
    torch.save(torch.ones(1), photo.with_name("gain.pt"))
    assert attack(*way) == 0
    out = Path(told(photo)["output"])
    made = out.stat().st_mtime_ns
    assert attack(*way) == 0
    assert out.stat().st_mtime_ns == made
    torch.save(torch.full((1,), 2.0), photo.with_name("gain.pt"))
    assert attack(*way) == 0
    assert out.stat().st_mtime_ns > made


def test_results_of_earlier_runs_are_no_inputs(photo: Path, prior: Path, colours: str) -> None:
    way = ("--model", prior, "--classifier", colours, *FEW)
    assert attack(photo, *way) == 0
    assert attack(photo.parent, *way, "-o", photo.parent / "out") == 0
    inputs = [Path(image["input"]).name for image in report(photo.parent / "out" / "report.json")["images"]]
    assert inputs == ["cat.png"]


def test_transparency_lies_on_white_and_orientation_is_kept(tmp_path: Path, prior: Path, colours: str) -> None:
    rgba = np.full((60, 80, 4), (180, 160, 150, 255), np.uint8)
    rgba[:30, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "clear.png", dpi=(300, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgba[..., :3]).save(tmp_path / "turned.jpg", exif=exif)
    assert attack(tmp_path, "--model", prior, "--classifier", colours, *FEW, "-o", tmp_path / "out") == 0
    clear, turned = report(tmp_path / "out" / "report.json")["images"]
    assert "transparency was put on white" in clear["reason"]
    with Image.open(clear["output"]) as made:
        assert made.mode == "RGB" and made.size == (80, 60) and round(made.info["dpi"][0]) == 300
    assert pixels(Path(turned["output"])).shape == (80, 60, 3)


def test_pairs_to_train_on(photo: Path, prior: Path, tmp_path: Path) -> None:
    assert attack(photo, "--model", prior, "--export-training-pairs", tmp_path / "pairs") == 0
    header, row = (tmp_path / "pairs" / "pairs.csv").read_text().splitlines()
    clean, adversarial, true, _ = row.split(",", 3)
    assert header == "clean,adversarial,true_label,true_name,seen_as" and int(true) == told(photo)["true"]
    assert (pixels(tmp_path / "pairs" / clean) == pixels(photo)).all()
    assert (pixels(tmp_path / "pairs" / adversarial) == pixels(photo.with_name("cat-attack.png"))).all()


def test_a_dry_run_and_json(photo: Path, prior: Path, colours: str, capsys: pytest.CaptureFixture[str]) -> None:
    way = (photo, "--model", prior, "--classifier", colours, *FEW)
    assert attack(*way, "--dry-run") == 0
    assert "cat-attack.png: any other class" in capsys.readouterr().out
    assert not photo.with_name("cat-attack.png").exists()
    assert attack(*way, "--json") == 0
    assert json.loads(capsys.readouterr().out) == report(photo.with_name("cat-attack-report.json"))


def test_broken_pictures_leave_the_others_alone(photo: Path, prior: Path, colours: str) -> None:
    (photo.parent / "broken.png").write_bytes(photo.read_bytes()[:300])
    Image.new("RGB", (4, 200)).save(photo.parent / "sliver.png")
    assert attack(photo.parent, "--model", prior, "--classifier", colours, *FEW, "-o", photo.parent / "out") == 4
    statuses = {Path(image["input"]).name: image for image in report(photo.parent / "out" / "report.json")["images"]}
    assert {name: image["status"] for name, image in statuses.items()} == {
        "broken.png": "failed",
        "cat.png": "attacked",
        "sliver.png": "failed",
    }
    assert "damaged" in statuses["broken.png"]["reason"] and "sides from" in statuses["sliver.png"]["reason"]
    assert not list((photo.parent / "out").glob(".*.part"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--target", "csv"), "give it with --labels"),
        (("--epsilon", "-1"), "epsilon of -1"),
        (("--strength", "2"), "strength of 2"),
        (("--method", "pgd", "--perturb", "maps"), "pixels are perturbed by"),
        (("--method", "diffattack", "--perturb", "maps"), "has no noise maps"),
        (("--caption", "a cat", "--captioner", "blip"), "give one of --caption"),
        (("--batch", "2", "--jobs", "2"), "--batch or --jobs"),
        (("--classifier", "resnet"), "unknown classifier 'resnet'"),
        (("--model", "nowhere/nothing"), "fastdiff models download nowhere/nothing"),
        (("-o", "out.jpg"), "written as PNG"),
    ],
)
def test_wrong_wishes_are_one_sentence(
    arguments: tuple[str, ...], sentence: str, photo: Path, prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--model" in arguments else (*arguments, "--model", str(prior))
    assert attack(photo, *given) in (2, 3)
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert list(photo.parent.iterdir()) == [photo]
