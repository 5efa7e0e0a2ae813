"""Training through its command: from a few pages to weights that clean one, however often it is stopped."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import text_page
from PIL import Image
from safetensors.torch import load_file

from fastdiff.cli.main import main
from fastdiff.models.restorers import read_pair
from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean import fonts, pool
from fastdiff.training.docclean.train import TrainOptions, run
from fastdiff.training.fit import Progress

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_textures")]

TINY = ("--width", "4", "--levels", "2", "--batch", "2", "--pool", "2")


def train(folder: Path, *options: object) -> int:
    return main(["train", "docclean", "--folder", str(folder), *TINY, *map(str, options)])


def state(folder: Path, stage: str = "predictor") -> dict:
    return torch.load(folder / f"{stage}.state.pt", weights_only=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean pages of one's own, in colour and in 16 bits."""
    folder = tmp_path_factory.mktemp("clean")
    page = text_page(30)
    Image.fromarray(np.stack([page] * 3, axis=-1)).save(folder / "colour.png")
    Image.fromarray(page.astype(np.uint16) * 257).save(folder / "deep.png")
    (folder / "notes.txt").write_text("not a page")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, clean: Path) -> Path:
    """Two steps, a stop, one more step, and the denoiser."""
    folder = tmp_path_factory.mktemp("run")
    assert train(folder, "--pages", clean, "--stage", "predictor", "--steps", 2) == 0
    (folder / "predictor.after2.pt").write_bytes((folder / "predictor.state.pt").read_bytes())
    assert train(folder, "--pages", clean, "--steps", 3) == 0
    return folder


def test_a_stopped_run_resumes(trained: Path) -> None:
    before = torch.load(trained / "predictor.after2.pt", weights_only=True)
    after = state(trained)
    assert (before["step"], after["step"]) == (2, 3)
    (optimizer,) = after["optimizers"]
    assert {int(moments["step"]) for moments in optimizer["state"].values()} == {3}
    moved = [(after["net"][name] - value).abs().max().item() for name, value in before["net"].items()]
    assert 0 < max(moved) < 1e-3  # one step of the warm-up, not a new start


def test_a_finished_stage_is_not_trained_again(trained: Path, clean: Path) -> None:
    before = (trained / "predictor.state.pt").read_bytes(), (trained / "docclean.safetensors").read_bytes()
    assert train(trained, "--pages", clean, "--steps", 3) == 0
    assert before == ((trained / "predictor.state.pt").read_bytes(), (trained / "docclean.safetensors").read_bytes())


def test_the_same_seed_trains_the_same_network(trained: Path, clean: Path, tmp_path: Path) -> None:
    """On one machine and without a stop in between, bit by bit; another seed gives another."""
    first = torch.load(trained / "predictor.after2.pt", weights_only=True)["average"]
    assert train(tmp_path, "--pages", clean, "--stage", "predictor", "--steps", 2) == 0
    assert all(torch.equal(value, first[name]) for name, value in state(tmp_path)["average"].items())


def test_the_weights_clean_a_page(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(text_page(20, paper=220)).save(tmp_path / "scan.png")
    weights = trained / "docclean.safetensors"
    options = ["--ocr", "none", "--calls", "2", "--weights", str(weights), "--force-clean"]
    assert main(["docclean", str(tmp_path / "scan.png"), "-o", str(tmp_path / "out"), *options]) == 0
    report = json.loads(next(tmp_path.rglob("report.json")).read_text())
    assert report["pages"][0]["status"] == "cleaned"
    assert report["pages"][0]["calls"] == 2


def test_the_card_describes_the_weights(trained: Path) -> None:
    card = json.loads((trained / "docclean.json").read_text())
    weights = load_file(trained / "docclean.safetensors")
    for stage in ("predictor", "denoiser"):
        mine = {name: value for name, value in weights.items() if name.startswith(f"{stage}.")}
        assert sum(value.numel() for value in mine.values()) == card["parameters"][stage] > 0
        assert {value.dtype for value in mine.values()} == {torch.float16}
        assert card["recipe"][stage]["steps"] == 3
    assert card["licence"] == "Apache-2.0" and card["scores"] is None
    assert card["data"]["pages"] == card["data"]["own"] == 2 and card["data"]["fonts"] == {}
    assert str(trained.parent) not in json.dumps(card)


def test_the_average_is_what_is_packed(trained: Path) -> None:
    average = state(trained, "denoiser")["average"]
    packed = load_file(trained / "docclean.safetensors")
    assert all(torch.equal(packed[f"denoiser.{name}"], value.half()) for name, value in average.items())


def test_weights_of_another_run_can_be_the_start(trained: Path, clean: Path, tmp_path: Path) -> None:
    given = trained / "docclean.safetensors"
    assert train(tmp_path, "--pages", clean, "--stage", "predictor", "--steps", 1, "--start-from", given) == 0
    start = read_pair(given).predictor.state_dict()
    moved = [(state(tmp_path)["net"][name] - value).abs().max().item() for name, value in start.items()]
    assert 0 < max(moved) < 1e-3
    told = json.loads((tmp_path / "predictor.json").read_text())["start_from"]
    assert told["file"] == given.name and told["sha256"] == hashlib.sha256(given.read_bytes()).hexdigest()
    assert told["recipe"] == json.loads(given.with_suffix(".json").read_text())["recipe"]["predictor"]


def test_an_interrupted_run_keeps_its_checkpoint(clean: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    options = TrainOptions(folder=tmp_path, steps=9, batch=2, width=4, levels=2, pages=2, own=clean, every=1)
    with pytest.raises(KeyboardInterrupt):
        run(options, stop)
    assert state(tmp_path)["step"] == 2
    assert not (tmp_path / "predictor.safetensors").exists()


def test_own_pages_are_the_pool(trained: Path) -> None:
    pages, x_heights = np.load(trained / "pool" / "pages.npy"), np.load(trained / "pool" / "x_heights.npy")
    page = text_page(30)
    height, width = min(page.shape[0], pool.SIDE), min(page.shape[1], pool.SIDE)
    assert np.array_equal(pages[0][:height, :width], page[:height, :width])
    assert np.array_equal(pages[1], pages[0])  # the same page in 16 bits
    assert 10 < x_heights[0] < 20  # of a font of 30 pixels


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stage", "denoiser"], "predictor"),
        (["--pages", "nowhere"], "holds no pages"),
        (["--steps", "0"], "not in the range"),
        (["--start-from", "nothing.safetensors"], "not a weights file"),
    ],
)
def test_wrong_usage_is_one_sentence(
    options: list[str], sentence: str, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--pages", clean, *options) == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told


def test_checkpoints_of_other_networks_are_refused(trained: Path, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "predictor.state.pt").write_bytes((trained / "predictor.state.pt").read_bytes())
    with pytest.raises(UsageError, match="of a network of other size"):
        run(TrainOptions(folder=tmp_path, steps=9, width=8, levels=2, pages=2, own=clean))


def test_rendered_pages_fill_the_pool(clean: Path, tmp_path: Path) -> None:
    origin = pool.fill(tmp_path, 4, 0, clean)
    assert (origin.pages, origin.own) == (4, 2)
    pages = np.load(tmp_path / "pages.npy")
    assert pages.shape == (4, pool.SIDE, pool.SIDE)
    assert all(page.min() < 128 < page.max() for page in pages)
    assert set(origin.fonts.values()) <= set(fonts.LICENCES) and not set(origin.fonts) & set(fonts.HELD_OUT)


def test_a_pool_of_rendered_pages_is_not_taken_for_ones_own(trained: Path, tmp_path: Path) -> None:
    record = json.loads((trained / "pool" / "origin.json").read_text()) | {"own": 0}
    (tmp_path / "pages.npy").write_bytes((trained / "pool" / "pages.npy").read_bytes())
    (tmp_path / "origin.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="was filled without"):
        pool.fill(tmp_path, 2, 0, Path("mine"))


def test_an_unwritable_folder_is_reported(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file", "--pages", clean) == 5


def test_every_family_has_one_licence_and_none_that_is_held_out_trains() -> None:
    families = {name for names in fonts.FAMILIES.values() for name in names}
    licensed = [name for names in fonts.LICENCES.values() for name in names]
    assert sorted(licensed) == sorted(families | set(fonts.HELD_OUT))
    assert not families & set(fonts.HELD_OUT)
