"""Tuning: fits help where theory says so, stopped runs go on, and applications take what comes of them."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tiny_pixart
import torch
from problems import MIXTURE, SCHEDULES, Gaussian
from safetensors import safe_open
from safetensors.torch import load_file
from sampling_problems import oracle
from torch import Tensor

from fastdiff.apps.docclean.options import Options
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.apps.docclean.restoration.tiled_teleport import TiledTeleport
from fastdiff.apps.running import batch
from fastdiff.apps.tuning import fits, measure
from fastdiff.apps.tuning.tune import Result, Tuning, run
from fastdiff.cli.main import main
from fastdiff.models.conditioned_network import ConditionedNetwork
from fastdiff.models.sampling_problem import load_sampling_problem
from fastdiff.solvers.dc import DC
from fastdiff.solvers.denoiser import Denoiser, Network
from fastdiff.solvers.errors import OutputError, UsageError
from fastdiff.solvers.guidance import Guided
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.schedule import Flow, LinearVP
from fastdiff.solvers.solver_file import read_solver_file
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.tuned import TUNED
from fastdiff.solvers.tuning import consistency
from fastdiff.solvers.tuning.consistency_checkpoint import PolicyTraining


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Less work than a person would put in."""
    monkeypatch.setattr(measure, "REFERENCE", 50)
    monkeypatch.setattr(fits, "TEACHER", 50)
    monkeypatch.setattr(fits, "NODES", 30)


def tuned(tmp_path, solver, f=MIXTURE, **changes):
    options: dict[str, Any] = {"nfe": (5,), "grid": "log-snr", "samples": 16} | changes
    return run(Tuning(oracle(f, tmp_path / "model"), solver, out=tmp_path / "tuned.safetensors", **options))


@pytest.mark.parametrize("solver", ["dc", "dode", "iia", "teleport-iia", "consistency", "consistency-gradients"])
def test_tuning_helps_on_samples_that_it_never_saw(tmp_path, solver):
    (result,) = tuned(tmp_path, solver)
    assert result.verdict == "better"
    assert np.mean(result.tuned) < 0.8 * np.mean(result.base)


def test_statistics_make_v3_exact_for_a_gaussian(tmp_path):
    (result,) = tuned(tmp_path, "v3", Gaussian(LinearVP()), samples=8)
    assert result.verdict == "better"
    assert np.mean(result.tuned) < 0.2 * np.mean(result.base)


def test_teleportation_skips_steps_of_a_gaussian(tmp_path):
    (result,) = tuned(tmp_path, "teleport", Gaussian(LinearVP()), samples=8)
    assert result.verdict == "better" and result.config.options["skip"] == 2


def test_the_gaussian_has_not_seen_what_is_fitted_to(tmp_path):
    tuned(tmp_path, "teleport", samples=8)
    model, kept = oracle(MIXTURE, tmp_path / "model"), load_file(tmp_path / "tuned.safetensors")
    own, others = (
        fits.FITS["teleport"].once(list(model.batches(8, first=first)), (), fits.Extent()) for first in (0, 8)
    )
    torch.testing.assert_close(kept["all.mean"], others["mean"])
    assert not torch.isclose(kept["all.mean"], own["mean"]).any()


def test_scouts_look_for_the_grid_first_and_then_for_the_skip():
    found = {("far", 4): 0.3, ("near", 4): 0.2, ("near", 6): 0.1, ("far", 1): 0.0}
    tried = []

    def error(recipe):
        tried.append((recipe.grid, recipe.options["skip"]))
        return found.get(tried[-1], torch.inf)

    assert fits.scouted(["far", "near"], 8, {"base": "unipc"}, error) == ("near", {"base": "unipc", "skip": 6})
    assert tried == [("far", 4), ("near", 4), *(("near", skip) for skip in range(1, 8))]
    assert fits.scouted(["near"], 1, {}, error) == ("near", {"skip": 1})


@pytest.mark.parametrize("solver", sorted(TUNED))
def test_the_file_holds_what_was_measured(tmp_path, solver):
    from fastdiff.apps.tuning.measure import errors, reference
    from fastdiff.solvers.integration import integrate

    (result,) = tuned(tmp_path, solver, Gaussian(LinearVP()), samples=8)
    held = list(oracle(Gaussian(LinearVP()), tmp_path / "model").batches(8, held=True))
    made, levels = read_solver_file(tmp_path / "tuned.safetensors").sampler(LinearVP(), 5)
    exact = fits.full_runs(held) if fits.FITS[solver].previews else reference(held)
    again = errors([integrate(f, made, x, levels).x for f, x in held], exact)
    assert result.tuned == pytest.approx(again.tolist(), rel=1e-3, abs=1e-6)


def test_the_grid_is_the_one_on_which_the_base_does_best(tmp_path):
    results = {grid: tuned(tmp_path, "dode", grid=grid)[0] for grid in ("auto", "log-snr", "time-uniform")}
    best = min(np.mean(results[grid].base) for grid in ("log-snr", "time-uniform"))
    assert np.mean(results["auto"].base) <= 1.1 * best


@pytest.mark.parametrize(
    ("gaps", "verdict"), [((0.1, 0.11, 0.09, 0.1), "better"), ((-0.1, -0.11, -0.09, -0.1), "worse"),
                          ((0.1, -0.3, 0.2, 0.1), "even"), ((0.0, 0.0, 0.0, 0.0), "even")],
)  # fmt: skip
def test_verdicts_are_paired(gaps, verdict):
    base = (0.2, 3.0, 40.0, 500.0)
    result = Result(5, SamplerConfig("dc", "karras"), base, tuple(a - gap for a, gap in zip(base, gaps, strict=True)))
    assert result.verdict == verdict


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = tuned(tmp_path / "whole", "dc", nfe=(4, 5, 6))

    def stop(now):
        if now.name == "6 calls":
            raise Stopped

    tuning = Tuning(
        oracle(MIXTURE, tmp_path / "model"), "dc", (4, 5, 6), tmp_path / "tuned.safetensors", "log-snr", samples=16
    )
    with pytest.raises(Stopped):
        run(tuning, stop)
    assert not tuning.out.exists()
    told = list[batch.Progress]()
    assert run(tuning, told.append) == whole
    assert {now.name for now in told} == {"6 calls"}
    assert all(a.done <= b.done <= b.total for a, b in pairwise(told)) and told[-1].done == told[-1].total
    assert tuning.out.read_bytes() == (tmp_path / "whole" / "tuned.safetensors").read_bytes()
    assert not list((tmp_path / ".fastdiff").glob("*.parts"))
    told.clear()
    assert run(tuning, told.append) == whole and not told  # nothing is done twice


def test_a_stopped_policy_goes_on_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "TRAINING", consistency.Plan(iterations=4))
    (tmp_path / "whole").mkdir()
    whole = tuned(tmp_path / "whole", "consistency")
    tuning = Tuning(
        oracle(MIXTURE, tmp_path / "model"), "consistency", (5,), tmp_path / "tuned.safetensors", "log-snr", samples=16
    )
    save, saved = PolicyTraining.save, list[int]()

    def save_and_stop(training, path, named):
        save(training, path, named)
        saved.append(training.done)
        if saved == [1, 2]:
            raise Stopped

    monkeypatch.setattr(PolicyTraining, "save", save_and_stop)
    with pytest.raises(Stopped):
        run(tuning)
    assert len(list((tmp_path / ".fastdiff").glob("*.parts/*.state"))) == 1
    assert run(tuning) == whole and saved == [1, 2, 3, 4]
    assert not list((tmp_path / ".fastdiff").glob("*.parts"))
    assert tuning.out.read_bytes() == (tmp_path / "whole" / "tuned.safetensors").read_bytes()


def test_minutes_are_those_of_a_policy(tmp_path, capsys):
    (result,) = tuned(tmp_path, "consistency", minutes=1e-6)
    assert read_solver_file(tmp_path / "tuned.safetensors").card["minutes"] == 1e-6
    assert result.nfe == 5
    with pytest.raises(UsageError, match="3 minutes for dc, which is not trained: consistency is"):
        tuned(tmp_path, "dc", minutes=3)
    assert main(["tune", "docclean", "--accelerate", "first-block", "--minutes", "3"]) == 2
    assert "3 minutes without --solver consistency" in capsys.readouterr().err


def test_files_of_others_stay(tmp_path):
    (tmp_path / "tuned.safetensors").write_text("mine")
    with pytest.raises(OutputError, match="give --force"):
        tuned(tmp_path, "dode")
    tuned(tmp_path, "dode", force=True)
    assert read_solver_file(tmp_path / "tuned.safetensors").model == "oracle"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"solver": "unipc"}, "is not tuned"),
        ({"solver": "dc", "base": "ddim"}, "compensates unipc"),
        ({"solver": "dode", "base": "euler-ancestral"}, "adds noise"),
        ({"solver": "dode", "base": "nothing"}, "unknown solver"),
        ({"solver": "dode", "grid": "nowhere"}, "unknown grid"),
        ({"solver": "dode", "samples": 2}, "2 samples"),
        ({"solver": "dode", "grid": "karras", "f": Gaussian(Flow(start=1.0))}, "both ends need signal"),
        ({"solver": "v3", "grid": "time-uniform", "f": Gaussian(Flow(start=1.0))}, "both ends need signal"),
        ({"solver": "dode", "grid": "leading", "f": Gaussian(SCHEDULES["discrete"])}, "below the noise"),
        ({"solver": "dode", "base": "heun", "grid": "karras", "nfe": (1,)}, "0 steps"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        tuned(tmp_path, **options)


def conditioned(f: Denoiser) -> Tensor:
    """The restored pages that the network is conditioned on."""
    assert isinstance(f, Network)
    return f.given["condition"]


def test_items_are_replayable_and_held_out_ones_are_others():
    model = load_sampling_problem("docclean", size=32)
    by_two = list(model.batches(4, seed=3, rows=2))
    f, x = model.batch(range(4), seed=3)
    restored = conditioned(f)
    ((_, later),) = model.batches(2, seed=3, first=2)
    assert torch.equal(later, x[2:])
    assert torch.equal(torch.cat([x for _, x in by_two]), x)
    assert torch.equal(torch.cat([conditioned(f) for f, _ in by_two]), restored)
    for other in (model.batch(range(4), seed=3, held=True), model.batch(range(4), seed=4)):
        assert not torch.isclose(other[1], x).any(dim=(1, 2, 3)).all()
        assert not torch.equal(conditioned(other[0]), restored)


def test_prompts_are_parted_between_fitting_and_measuring(tmp_path):
    folder = tiny_pixart.write(tmp_path / "model")
    drawn = []
    model = load_sampling_problem(str(folder), size=64, prompts=["fox", "cat", "dog", "grass"], guidance=2.0)
    assert model.guidance == 2.0 and "4 prompts" in model.description
    assert model.batch(range(16))[1].shape == (16, 4, 8, 8)
    for held in (False, True):
        f = model.batch(range(16), held=held)[0]
        assert isinstance(f, Guided) and isinstance(f.network, ConditionedNetwork)
        prompts = f.network.prompts
        drawn.append({tuple(row.flatten().tolist()) for row in prompts.embeddings})
    assert len(drawn[0]) == len(drawn[1]) == 2 and not drawn[0] & drawn[1]


def test_conditions_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for model, options, sentence in (
        ("docclean", {"guidance": 2.0}, "takes no prompts"),
        ("docclean", {"pages": tmp_path / "empty"}, "holds no page"),
        ("photos", {"prompts": ["fox"]}, "takes no prompts"),
        ("photos", {"pages": tmp_path}, "restores no pages"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load_sampling_problem(model, **options)


QUICK = ("--size", "16", "--samples", "4", "--grid", "log-snr+clean")


def test_the_command_tunes_the_bundled_denoiser_and_docclean_takes_the_file(tmp_path, capsys):
    out = tmp_path / "dc.safetensors"
    arguments = ["tune", "docclean", "--solver", "dc", "--nfe", "3,4", *QUICK, "-o", str(out), "--debug"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "crops of 3 pages; about 0:" in told.err
    assert [line.split()[0] for line in told.out.splitlines()[2:4]] == ["3", "4"] and str(out) in told.out
    with safe_open(out, "pt") as file:
        card = json.loads(file.metadata()["fastdiff"])["card"]
    assert card["seed"] == 0 and card["held_out"] == 4 and set(card["errors"]) == {"3", "4"}
    assert isinstance(read_solver_file(out).sampler(LinearVP(), 4)[0], DC)

    page = np.full((64, 80), 220, np.uint8)
    page[20:30, 10:60] = 40
    plain, cleaned = (PageRestorer(task="clean", device="cpu", solver_file=file)(page, 0) for file in (None, out))
    assert (plain.calls, cleaned.calls) == (0, 3) and not np.array_equal(plain.pixels, cleaned.pixels)
    assert PageRestorer(task="clean", device="cpu", solver_file=out, calls=4)(page, 0).calls == 4
    with pytest.raises(UsageError, match="made for docclean"):
        PageRestorer(task="deblur", device="cpu", solver_file=out)(page, 0)
    with pytest.raises(UsageError, match="5 calls: the solver file has 3, 4"):
        PageRestorer(task="clean", device="cpu", solver_file=out, calls=5)(page, 0)
    for task, solver in (("auto", None), ("clean", "ddim")):
        with pytest.raises(UsageError, match="for the network of one task"):
            Options(("page.png",), solver_file=out, task=task, solver=solver)


def test_statistics_of_small_crops_serve_pages_of_any_size(tmp_path):
    out = tmp_path / "v3.safetensors"
    run(Tuning(load_sampling_problem("docclean", size=16), "v3", (4,), out, "log-snr+clean", samples=4))
    assert out.stat().st_size < 10_000
    page = np.full((50, 70), 200, np.uint8)
    assert PageRestorer(task="clean", device="cpu", solver_file=out)(page, 0).pixels.shape == page.shape


@pytest.mark.parametrize("solver", ["teleport", "teleport-iia"])
def test_the_gaussian_of_crops_carries_pages_of_any_size(tmp_path, solver):
    out = tmp_path / "tuned.safetensors"
    run(Tuning(load_sampling_problem("docclean", size=16), solver, (4,), out, "log-snr+clean", samples=4))
    page = np.full((50, 70), 200, np.uint8)
    page[20:30, 10:60] = 40
    predicted, sampled = (PageRestorer(task="clean", device="cpu", solver_file=file)(page, 0) for file in (None, out))
    assert sampled.calls == 4 and sampled.pixels.shape == page.shape
    assert np.abs(sampled.pixels.astype(int) - predicted.pixels).mean() < 16  # there is no residual but the run's error


def test_a_page_is_carried_as_its_crops_are():
    t, u = LinearVP().level(1.0), LinearVP().level(0.6)
    flat = Teleport(torch.full((1, 16, 16), 0.3), torch.zeros(256, 1), torch.zeros(1))
    page = torch.randn(1, 1, 50, 37, generator=torch.Generator().manual_seed(0))
    expected = u.alpha * 0.3 + u.sigma / t.sigma * (page - t.alpha * 0.3)
    torch.testing.assert_close(TiledTeleport(flat).carry(page, t, u), expected, rtol=1e-5, atol=1e-5)


def test_the_command_tunes_a_folder_with_prompts(tmp_path, capsys):
    folder = tiny_pixart.write(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("a fox on grass\n\na cat\n")
    out = tmp_path / "dode.safetensors"
    arguments = [
        "tune",
        str(folder),
        "--solver",
        "dode",
        "--nfe",
        "3",
        "--size",
        "64",
        "--samples",
        "4",
        "-o",
        str(out),
    ]
    assert main([*arguments, "--prompts", str(tmp_path / "prompts.txt"), "--guidance", "2"]) == 0
    assert "guidance 2, on 2 prompts" in capsys.readouterr().err
    file = read_solver_file(out)
    assert file.for_model(load_sampling_problem(str(folder), size=64).fingerprint, 2.0).configs[3].solver == "dode"
    with pytest.raises(UsageError, match="tune this one"):
        file.for_model(load_sampling_problem("scenes").fingerprint, 2.0)
    (tmp_path / "prompts.txt").write_text("\n")
    assert main([*arguments, "--prompts", str(tmp_path / "prompts.txt")]) == 2
    assert "holds 0 prompts" in capsys.readouterr().err
