"""Solver files: what is written comes back, and whatever else is at their path is refused in one sentence."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from problems import MIXTURE, Gaussian, random_state
from safetensors.torch import save_file
from torch import nn

from fastdiff.models.fingerprint import of_network
from fastdiff.solvers.dc import DC
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, karras, log_snr
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sampler_config import SamplerConfig, grid_by_name
from fastdiff.solvers.schedule import CLEAN_LEVEL, CosineVP, LinearVP
from fastdiff.solvers.solver_file import SolverFile, read_solver_file
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.tuning import dc_cascade
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.with_teleport import WithTeleport

SCHEDULE = MIXTURE.schedule
RATIOS = {5: (1.0, 1.0, 0.97, 1.13, 1.38), 6: (1.0, 1.0, 0.95, 1.0, 1.1, 1.3), 8: (1.0, 1.0, 0.93, *(1.0,) * 5)}


def dc_file() -> SolverFile:
    """DC-Solver for 5, 6 and 8 calls, and the regression between them."""
    solvers = {calls: DC(UniPC(3), ratios) for calls, ratios in RATIOS.items()}
    cascade = dc_cascade.fit({(1.0, calls): solver for calls, solver in solvers.items()})
    tensors = {f"{calls}.{name}": value for calls, s in solvers.items() for name, value in s.tensors().items()}
    tensors |= {f"cascade.{name}": value for name, value in cascade.tensors().items()}
    recipe = SamplerConfig("dc", "log-snr", {"base": "unipc", "order": 3})
    return SolverFile("mine", "ab" * 32, 1.0, dict.fromkeys(RATIOS, recipe), tensors, {"samples": 8})


def recipes(**by_calls: SamplerConfig) -> SolverFile:
    return SolverFile("mine", "ab" * 32, 4.5, {int(calls[1:]): each for calls, each in by_calls.items()}, {}, {})


def test_a_file_comes_back_and_is_the_same_bytes_again(tmp_path):
    made = dc_file()
    made.save(tmp_path / "a.safetensors")
    back = read_solver_file(tmp_path / "a.safetensors")
    assert replace(back, tensors={}) == replace(made, tensors={})
    assert all(torch.equal(back.tensors[name], value) for name, value in made.tensors.items())
    back.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_stored_solver_samples_as_the_fitted_one(tmp_path):
    dc_file().save(tmp_path / "dc.safetensors")
    solver, levels = read_solver_file(tmp_path / "dc.safetensors").sampler(SCHEDULE, 5)
    assert levels == grid(log_snr, SCHEDULE, 5)
    wanted = integrate(MIXTURE, DC(UniPC(3), RATIOS[5]), random_state(6), levels).x
    assert torch.equal(integrate(MIXTURE, solver, random_state(6), levels).x, wanted)


def test_counts_between_the_tuned_ones_follow_by_regression_and_others_are_refused():
    solver, levels = dc_file().sampler(SCHEDULE, 7)
    assert isinstance(solver, DC)
    assert len(levels) == 8 and len(solver.ratios) == 7
    assert solver.ratios[:2] == (1, 1) and min(solver.ratios) > 0.8 and max(solver.ratios) < 1.5
    for calls in (4, 9):
        with pytest.raises(UsageError, match=f"{calls} calls: the solver file has 5, 6, 8"):
            dc_file().sampler(SCHEDULE, calls)


def test_a_recipe_without_fitted_numbers():
    solver, levels = recipes(c4=SamplerConfig("unipc", "karras+clean", {"order": 3})).sampler(SCHEDULE, 4)
    assert solver == UniPC(3)
    assert levels == grid(karras, SCHEDULE, 4, clean=True) and levels[-1] == CLEAN_LEVEL


def test_another_network_or_guidance_is_refused():
    file = recipes(c4=SamplerConfig("ddim", "karras"))
    assert file.for_model("ab" * 32, 4.5) is file
    with pytest.raises(UsageError, match="made for mine"):
        file.for_model("cd" * 32, 4.5)
    with pytest.raises(UsageError, match=r"guidance 4\.5, and this is 1"):
        file.for_model("ab" * 32)


def damaged(path: Path, **changes) -> Path:
    """A file whose card has other values than a good one's."""
    dc_file().save(path)
    told = {
        "format": 1,
        "model": "mine",
        "fingerprint": "00",
        "guidance": 1.0,
        "recipes": {"5": {"solver": "unipc", "grid": "karras", "options": {}}},
        "card": {},
    }
    save_file({}, path, {"fastdiff": json.dumps(told | changes)})
    return path


def one(**recipe) -> dict:
    return {"5": {"solver": "unipc", "grid": "karras", "options": {}} | recipe}


@pytest.mark.parametrize(
    "changes",
    [
        {"recipes": {}},
        {"recipes": {"0": {}}},
        {"recipes": {"100000": one()["5"]}},
        {"recipes": [1]},
        {"recipes": one(options={"slope": "exit"})},
        {"recipes": one(options={"order": "3"})},
        {"recipes": one(options={"order": 10**9})},
        {"recipes": one(options={"order": True})},
        {"guidance": "much"},
        {"card": 3},
    ],
)
def test_cards_that_are_no_cards(tmp_path, changes):
    assert read_solver_file(damaged(tmp_path / "good.safetensors")).configs[5].solver == "unipc"
    with pytest.raises(UsageError, match="is not a solver file"):
        read_solver_file(damaged(tmp_path / "bad.safetensors", **changes))


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "text", Path(str(files("fastdiff.data") / "docclean.json"))):
        with pytest.raises(UsageError, match="is not a solver file"):
            read_solver_file(path)
    with pytest.raises(UsageError, match="is not a solver file"):
        read_solver_file(Path(str(files("fastdiff.data") / "docclean.safetensors")))
    with pytest.raises(UsageError, match="format 2"):
        read_solver_file(damaged(tmp_path / "later.safetensors", format=2))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (SamplerConfig("euler-ancestral", "karras"), "adds noise"),
        (SamplerConfig("nothing", "karras"), "unknown solver"),
        (SamplerConfig("ddim", "karras", {"order": 2}), "does not take that"),
        (SamplerConfig("ddim", "nowhere"), "unknown grid"),
        (SamplerConfig("dc", "karras", {"base": "unipc"}), "damaged"),
        (SamplerConfig("dc", "karras", {"base": "ddim"}), "compensates unipc"),
        (SamplerConfig("v3", "karras", {"order": 2}), "damaged"),
        (SamplerConfig("teleport", "karras", {"base": "ddim", "skip": 1}), "damaged"),
    ],
)
def test_recipes_that_nobody_can_cook(recipe, sentence):
    with pytest.raises(UsageError, match=sentence):
        recipes(c5=recipe).sampler(SCHEDULE, 5)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp-2s", "unipc"])
@pytest.mark.parametrize("spacing", ["log-snr", "karras+clean"])
def test_calls_are_kept_to(name, spacing):
    recipe = SamplerConfig(name, spacing)
    for calls in (4, 5, 6, 9):
        f, solver = CountingDenoiser(MIXTURE), recipe.make()
        integrate(f, solver, random_state(1), recipe.levels(SCHEDULE, calls, solver.nfe_per_step))
        assert calls - solver.nfe_per_step < f.tally.nfe <= calls


def test_calls_that_pay_for_no_step():
    with pytest.raises(UsageError, match="0 steps"):
        SamplerConfig("heun", "log-snr").levels(SCHEDULE, 1, 2)
    with pytest.raises(UsageError, match="unknown grid 'clean'"):
        grid_by_name("clean")


def test_a_recipe_reads_as_options():
    assert str(SamplerConfig("unipc", "karras+clean", {"order": 3})) == "unipc, order 3, on karras+clean"
    assert {SamplerConfig(name, "log-snr").make().nfe_per_step for name in SOLVERS} >= {1, 2}


def test_teleported_steps_take_no_call_and_are_exact_for_a_gaussian():
    f = Gaussian(LinearVP())
    gaussian = Teleport(
        torch.full((1,), f.mean).double(), torch.ones(1, 1).double(), torch.tensor([f.variance]).double()
    )
    levels = grid(log_snr, f.schedule, 9)
    counted, x = CountingDenoiser(f), random_state(5, 1)
    got = integrate(counted, WithTeleport(dpmpp_2m(), gaussian, 4), x, levels).x
    assert counted.tally.nfe == 5
    torch.testing.assert_close(
        got, integrate(f, dpmpp_2m(), f.carry(x, levels[0], levels[4]), levels[4:]).x, rtol=0, atol=1e-12
    )
    with pytest.raises(UsageError, match="stands for the noisy end"):
        integrate(f, WithTeleport(dpmpp_2m(), gaussian, 4), x, levels[::-1])
    with pytest.raises(UsageError, match="one or more must be left"):
        integrate(f, WithTeleport(dpmpp_2m(), gaussian, 9), x, levels)
    with pytest.raises(UsageError, match="the Gaussian is of"):
        integrate(f, WithTeleport(dpmpp_2m(), gaussian, 4), random_state(5, 2), levels)


def test_fingerprints_tell_networks_schedules_and_predictions_apart():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    own = of_network(net, LinearVP(), "eps")
    assert own == of_network(net.double(), LinearVP(), "eps") and len(own) == 64
    assert of_network(net, CosineVP(), "eps") != own != of_network(net, LinearVP(), "v")
    with torch.no_grad():
        net.weight[1, 2] += 1e-6
    assert of_network(net, LinearVP(), "eps") != own
