"""Inversions on disk: they come back exactly, and what is damaged or foreign is refused."""

import json

import pytest
import torch
from known import known
from problems import LINEAR_BETAS, SCHEDULES, SMOOTH, Gaussian
from safetensors import safe_open
from safetensors.torch import save_file

from fastdiff.inversion.direct_inversion import apply_direct_inversion
from fastdiff.inversion.fixed_point import FixedPoint
from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.inversion.inversion_file import InversionSettings, load_inversion, save_inversion
from fastdiff.inversion.obelm import OBELM
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS
from fastdiff.inversion.reversed import Reversed
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, linspace, log_snr, time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.schedule import Flow

ON_ANY_MODEL = [name for name in INVERTERS if name not in FLOW_ONLY]
SETTING = InversionSettings("edit-friendly", ('a fox, "red"', "ein Bär"), 3.5)


def inverted(inverter, dtype=torch.float32):
    return invert(SMOOTH, SMOOTH.sample(2).to(dtype), grid(linspace, LINEAR_BETAS, 6), inverter)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_an_inversion_comes_back_exactly(tmp_path, name, dtype):
    inversion = inverted(INVERTERS[name](), dtype)
    save_inversion(tmp_path / "it", inversion, SETTING)
    again, setting = load_inversion(tmp_path / "it", LINEAR_BETAS)
    assert setting == SETTING
    assert (again.grid, again.nfe) == (inversion.grid, inversion.nfe)
    for field in ("trajectory", "residual", "step_residuals", "converged"):
        expected, got = getattr(inversion, field), getattr(again, field)
        assert got is None if expected is None else torch.equal(got, expected)
    assert torch.equal(regenerate(SMOOTH, again, copies=2), regenerate(SMOOTH, inversion, copies=2))


def test_the_solver_that_was_inverted_comes_back(tmp_path):
    for inverter in (Reversed(dpmpp_2m()), FixedPoint(Heun())):
        save_inversion(tmp_path / "it", inverted(inverter), SETTING)
        assert load_inversion(tmp_path / "it", LINEAR_BETAS)[0].solver == inverter.solver


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_knows_its_own(tmp_path, schedule):
    f = Gaussian(SCHEDULES[schedule])
    save_inversion(tmp_path / "it", invert(f, SMOOTH.sample(2), grid(log_snr, f.schedule, 9), OBELM()), SETTING)
    assert known(load_inversion(tmp_path / "it", f.schedule)[0].residual).max() < 1e-6
    for name in SCHEDULES.keys() - {schedule}:
        with pytest.raises(UsageError, match="another noise schedule"):
            load_inversion(tmp_path / "it", SCHEDULES[name])


def test_a_grid_from_pure_noise_is_kept(tmp_path):
    f = Gaussian(Flow(start=1.0))
    save_inversion(tmp_path / "it", invert(f, SMOOTH.sample(2), grid(time_uniform, f.schedule, 5), Reversed()), SETTING)
    assert load_inversion(tmp_path / "it", f.schedule)[0].grid[0].alpha == 0


def test_only_named_solvers_without_offsets_are_stored(tmp_path):
    for inversion in (apply_direct_inversion(inverted(Reversed())), inverted(Reversed(dpmpp_2m(lower_final=False)))):
        with pytest.raises(UsageError, match="only named solvers"):
            save_inversion(tmp_path / "it", inversion, SETTING)
    assert not (tmp_path / "it").exists()


def damaged(tmp_path, header=None, **tensors):
    """A stored inversion of edit-friendly maps with other entries in its header or other tensors."""
    path = tmp_path / "file"
    inversion = inverted(INVERTERS["edit-friendly"]())
    whole = {"trajectory": inversion.trajectory, "maps": inversion.solver.noise.z} | tensors
    entries = {
        "method": "edit-friendly",
        "prompts": ["a", "b"],
        "guidance": 1.0,
        "solver": "sde-dpmpp-1",
        "calls": 6,
        "grid": inversion.grid,
    }
    save_file({k: v.contiguous() for k, v in whole.items()}, path, {"inversion": json.dumps(entries | (header or {}))})
    return path


def test_the_undamaged_file_of_these_tests_is_read(tmp_path):
    """Its keys are those of the first version, and of the present one."""
    table, solved = torch.rand(6, 2), torch.tensor([True, False])
    inversion, setting = load_inversion(damaged(tmp_path, misses=table, converged=solved), LINEAR_BETAS)
    assert inversion.nfe == 6 and setting.prompts == ("a", "b")
    assert torch.equal(known(inversion.step_residuals), table) and torch.equal(known(inversion.converged), solved)
    save_inversion(tmp_path / "again", inversion, setting)
    with safe_open(tmp_path / "again", "pt") as file:
        assert {*file.keys()} == {"trajectory", "maps", "misses", "converged"}
        assert json.loads(file.metadata()["inversion"]).keys() == {
            "method", "prompts", "guidance", "solver", "calls", "grid"
        }  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        {"solver": "none"},
        {"solver": "ddim"},
        {"solver": ["sde-dpmpp-1"]},
        {"grid": [[1.0, 0.5]]},
        {"grid": []},
        {"grid": None},
        {"grid": [[-1e308, 1.0, 1.0, 0.0]] * 7},
        {"grid": [[float("nan")] * 4] * 7},
        {"prompts": 3},
        {"prompts": ["one"]},
        {"calls": "many"},
        {"guidance": {}},
    ],
    ids=str,
)
def test_a_damaged_header_is_refused(tmp_path, header):
    with pytest.raises(UsageError, match="invert the picture again"):
        load_inversion(damaged(tmp_path, header), LINEAR_BETAS)


@pytest.mark.parametrize(
    "tensors",
    [
        {"trajectory": torch.zeros(7, 2, 5)},
        {"trajectory": torch.zeros(())},
        {"trajectory": torch.zeros(7, 2, 64, dtype=torch.int64)},
        {"trajectory": torch.full((7, 2, 64), torch.nan)},
        {"maps": torch.zeros(3, 2, 64)},
        {"maps": torch.full((6, 2, 64), torch.inf)},
    ],
    ids=["shape", "scalar", "integers", "nan", "few maps", "infinite maps"],
)
def test_damaged_tensors_are_refused(tmp_path, tensors):
    with pytest.raises(UsageError, match="invert the picture again"):
        load_inversion(damaged(tmp_path, **tensors), LINEAR_BETAS)


def test_maps_that_are_lost_are_missed(tmp_path):
    with pytest.raises(UsageError, match="invert the picture again"):
        load_inversion(damaged(tmp_path, {"solver": "sde-dpmpp-2m"}, maps=torch.zeros(0)), LINEAR_BETAS)


def test_other_files_are_refused(tmp_path):
    whole = damaged(tmp_path).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    (tmp_path / "text").write_text("no tensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights")
    for name in ("cut", "text", "weights", "absent"):
        with pytest.raises(UsageError, match=name):
            load_inversion(tmp_path / name, LINEAR_BETAS)
