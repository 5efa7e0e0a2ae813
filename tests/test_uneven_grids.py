"""Grids of flow models that harm a solver: where a run warns, the solver that the warning names has less error."""

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_sana
import tiny_sd3
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from problems import Gaussian, Mixture, random_state
from torch import Tensor

from fastdiff.cli.main import main
from fastdiff.models.diffusers_scheduler import fastdiff_scheduler
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m, flow_dpm
from fastdiff.solvers.grids import Grid, grid, log_snr, time_part
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.rows import row_norms
from fastdiff.solvers.schedule import Flow, Schedule
from fastdiff.solvers.uneven_grids import BETTER, step_growth, warning_of
from fastdiff.solvers.unipc import UniPC

HARMED = ["dpmpp-2m", "flow-dpm", "dpmpp-3m", "dpm-2m", "dpm-3m", "unipc"]  # downwards, by uneven steps


def own_grid(shift: float, steps: int) -> Grid:
    return scheduler_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift}).grid(steps)


def forms(schedule: Schedule) -> list[Denoiser]:
    return [Gaussian(schedule), Gaussian(schedule, 0.0, 0.04), Mixture(schedule)]


def error(f: Denoiser, solver: str, x: Tensor, levels: Grid) -> float:
    """The mean relative distance to a run of many steps over the same levels and others between."""
    shares = [step / 50 for step in range(50)]
    many = [f.schedule.level(t.t + share * (u.t - t.t)) for t, u in pairwise(levels) for share in shares]
    exact = integrate(f, SOLVERS["deis"](), x, (*many, levels[-1])).x
    found = integrate(f, SOLVERS[solver](), x, levels).x
    return float((row_norms(found - exact) / row_norms(exact)).mean())


@pytest.mark.parametrize("solver", HARMED)
@pytest.mark.parametrize("steps", [6, 10, 20])
def test_the_named_solver_has_less_error_where_a_run_warns(solver: str, steps: int) -> None:
    for shift in (1.0, 3.0):
        levels, x = own_grid(shift, steps), random_state(8, 16)
        assert BETTER in (warning_of(SOLVERS[solver](), levels) or "")
        some = forms(Flow(shift))[0 if shift == 1 else 2 :]  # at other shifts errors may cancel on Gaussians
        assert all(error(f, BETTER, x, levels) < error(f, solver, x, levels) for f in some)


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("steps", [6, 20])
def test_the_named_solver_inverts_better_where_unipc_warns(shift: float, steps: int) -> None:
    schedule = Flow(shift)
    rising, x = time_part(schedule, 0.85, steps)[::-1], random_state(8, 16)
    assert BETTER in (warning_of(SOLVERS["unipc"](), rising) or "")
    for f in forms(schedule):
        assert error(f, BETTER, x, rising) < error(f, "unipc", x, rising)


def test_runs_that_are_sound_say_nothing() -> None:
    uneven, rising = own_grid(1.0, 10), time_part(Flow(3.0), 0.85, 10)[::-1]
    others = [name for name in SOLVERS if name not in HARMED]
    assert [name for name in others if warning_of(SOLVERS[name](), uneven)] == []
    assert [name for name in SOLVERS if warning_of(SOLVERS[name](), rising)] == ["unipc"]
    assert warning_of(UniPC(corrector=False), rising) is None
    even = grid(log_snr, Flow(1.0), 10)
    assert [name for name in SOLVERS if warning_of(SOLVERS[name](), even)] == []
    sana = scheduler_from_config(
        {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True, "flow_shift": 3.0}
    )
    assert [name for name in SOLVERS if warning_of(SOLVERS[name](), sana.grid(10))] == []


def test_the_growth_of_steps_is_that_before_the_last_one() -> None:
    levels = [Flow().at(lam) for lam in (-3.0, -2.0, 1.0, 1.5, 9.0)]
    assert step_growth(tuple(levels)) == pytest.approx(3)
    assert step_growth(tuple(levels[:2])) == 1


def test_flow_dpm_is_dpmpp_2m() -> None:
    assert flow_dpm() == dpmpp_2m()


def test_a_pipeline_hears_of_a_better_solver() -> None:
    own = FlowMatchEulerDiscreteScheduler(shift=1.0)
    with pytest.warns(UserWarning, match="as long in log SNR as the one before it.*: deis is mostly better"):
        fastdiff_scheduler("flow-dpm", like=own).set_timesteps(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastdiff_scheduler("deis", like=own).set_timesteps(8)
        fastdiff_scheduler("flow-dpm", like=own).set_timesteps(1)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "cat.png"
    values = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    Image.fromarray((values * 255).byte().numpy()).save(path)
    return path


@pytest.mark.parametrize("write", [tiny_sd3.write, tiny_sana.write], ids=["sd3", "sana"])
def test_edit_and_invert_name_a_better_solver(
    write: Any, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = ["--model", str(write(tmp_path / "tiny")), "--steps", "4", "--source", "a fox", "--device", "cpu"]
    for solver, told in (("unipc", True), ("deis", False)):
        out = tmp_path / f"{solver}.png"
        assert main(["edit", str(photo), "--prompt", "a cat", "-o", str(out), "--solver", solver, *way]) == 0
        assert ("too long for the corrector of UniPC to invert: deis is better" in capsys.readouterr().out) is told
        file = str(tmp_path / f"{solver}.safetensors")
        assert main(["invert", str(photo), "-o", file, "--solver", solver, "--json", *way]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert any("deis is better" in note for note in notes) is told
