"""The classes of diffusers and our solvers on the same levels and the same network."""

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepInverseScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from problems import Gaussian, Mixture

from fastdiff.models.scheduler_config import read_scheduler_config, scheduler_from_config
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.exponential import EPS, X0, X0_SDE, half, midpoint, taylor
from fastdiff.solvers.grids import time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import CLEAN_LEVEL, DiscreteVP, Flow, from_edm_sigma
from fastdiff.solvers.unipc import UniPC

SCHEDULE = DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist())
F = Mixture(SCHEDULE)
SLOPES = {"midpoint": midpoint, "heun": taylor, "bh1": half, "bh2": midpoint}


def start():
    return torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3))


def levels_of(sigmas):
    return tuple(from_edm_sigma(SCHEDULE, float(sigma)) for sigma in sigmas)


def run_theirs(scheduler, f, levels, x, **step_options):
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        eps = f(x.double(), level).eps.float()
        options = {key: values[level] for key, values in step_options.items()}
        x = scheduler.step(eps, t, x, **options).prev_sample
    return x


def assert_close(ours, theirs, tolerance=2e-5):
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim(spacing, clean):
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=clean, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(10)
    last = CLEAN_LEVEL if clean else SCHEDULE.at_timestep(0)
    levels = (*(SCHEDULE.at_timestep(label) for label in scheduler.timesteps.tolist()), last)
    assert_close(integrate(F, DDIM(), start(), levels).x, run_theirs(scheduler, F, levels, start()), 1e-5)


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("slope", ["midpoint", "heun"])
@pytest.mark.parametrize(
    ("kind", "final"), [("dpmsolver++", "sigma_min"), ("dpmsolver++", "zero"), ("dpmsolver", "sigma_min")]
)
def test_dpm_solver_multistep(kind, final, slope, order, steps):
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type=kind, solver_order=order, solver_type=slope, final_sigmas_type=final
    )
    scheduler.set_timesteps(steps)
    levels = levels_of(scheduler.sigmas)
    form = X0 if kind == "dpmsolver++" else EPS
    ours = Multistep(order, form, SLOPES[slope], curvature=0.5, lower_final=steps < 15)
    assert_close(integrate(F, ours, start(), levels).x, run_theirs(scheduler, F, levels, start()))


@pytest.mark.parametrize("slope", ["midpoint", "heun"])
@pytest.mark.parametrize("order", [1, 2])
def test_sde_dpm_solver(order, slope):
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=order, solver_type=slope, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(10)
    levels = levels_of(scheduler.sigmas)
    noises = torch.randn(10, 2, 3, 5, generator=torch.Generator().manual_seed(4))
    ours = Multistep(order, X0_SDE, SLOPES[slope], noise=lambda x, step: noises[step - 1])
    theirs = run_theirs(scheduler, F, levels, start(), variance_noise=dict(zip(levels, noises, strict=False)))
    assert_close(integrate(F, ours, start(), levels).x, theirs)


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("slope", "data", "final"),
    [
        ("bh1", True, "sigma_min"),
        ("bh2", True, "sigma_min"),
        ("bh2", True, "zero"),
        ("bh1", False, "sigma_min"),
        ("bh2", False, "sigma_min"),
    ],
)
def test_unipc(slope, data, final, order, steps):
    scheduler = UniPCMultistepScheduler(solver_order=order, solver_type=slope, predict_x0=data, final_sigmas_type=final)
    scheduler.set_timesteps(steps)
    levels = levels_of(scheduler.sigmas)
    ours = UniPC(order, X0 if data else EPS, SLOPES[slope])
    assert_close(integrate(F, ours, start(), levels).x, run_theirs(scheduler, F, levels, start()))


@pytest.mark.parametrize("order", [1, 2])
def test_inverse_dpm_solver(order):
    scheduler = DPMSolverMultistepInverseScheduler(solver_order=order)
    scheduler.set_timesteps(20)
    levels = levels_of(scheduler.sigmas)[:-1]  # the last sigma is repeated
    ours = Multistep(order, lower_final=False)
    x = 0.5 * start()
    theirs = x
    for t, level in zip(scheduler.timesteps[: len(levels) - 1], levels, strict=False):
        theirs = scheduler.step(F(theirs.double(), level).eps.float(), t, theirs).prev_sample
    assert_close(integrate(F, ours, x, levels).x, theirs, 5e-5)


def test_singlestep_dpm_solver():
    """On levels uniform in lam its order-2 steps, over two levels each, have the middle node of ours."""
    scheduler = DPMSolverSinglestepScheduler(solver_order=2, use_exponential_sigmas=True)
    scheduler.set_timesteps(10)
    levels = levels_of(scheduler.sigmas)[:9]
    theirs = start()
    for t, level in zip(scheduler.timesteps[:8], levels, strict=False):
        theirs = scheduler.step(F(theirs.double(), level).eps.float(), t, theirs).prev_sample
    assert_close(integrate(F, DPMpp2S(), start(), levels[::2]).x, theirs)


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, HeunDiscreteScheduler, EulerAncestralDiscreteScheduler])
def test_samplers_in_edm_scaling(kind):
    """These keep x / alpha as their state."""
    scheduler = kind()
    scheduler.set_timesteps(10)
    sigmas = list(dict.fromkeys(scheduler.sigmas.tolist()))
    levels = levels_of(sigmas)
    by_sigma = dict(zip(sigmas, levels, strict=True))
    generator = torch.Generator().manual_seed(5)
    theirs = start() / levels[0].alpha
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
        eps = F(scheduler.scale_model_input(theirs, t).double(), by_sigma[sigma]).eps.float()
        extra = {} if kind is HeunDiscreteScheduler else {"generator": generator}
        theirs = scheduler.step(eps, t, theirs, **extra).prev_sample
    again = torch.Generator().manual_seed(5)
    ours: dict[type, Solver[Any]] = {
        EulerDiscreteScheduler: DDIM(),
        HeunDiscreteScheduler: Heun(),
        EulerAncestralDiscreteScheduler: EulerAncestral(lambda x, step: torch.randn(x.shape, generator=again)),
    }
    assert_close(integrate(F, ours[kind], start(), levels).x, theirs)


def test_flow_euler():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(8)
    f = Gaussian(Flow())
    levels = tuple(Flow().level(float(sigma)) for sigma in scheduler.sigmas)
    theirs = start()
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        estimate = f(theirs.double(), level)
        theirs = scheduler.step((estimate.eps - estimate.x0).float(), t, theirs).prev_sample
    assert_close(integrate(f, DDIM(), start(), levels).x, theirs)


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_flow_dpm_solver(steps):
    config = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    scheduler = DPMSolverMultistepScheduler(solver_order=2, **config)
    scheduler.set_timesteps(steps)
    schedule = Flow(shift=3.0, start=0.999, end=0.0)
    levels = (*time_uniform(schedule, steps + 1),)
    assert [level.sigma for level in levels] == pytest.approx(scheduler.sigmas.tolist(), abs=1e-7)
    f = Gaussian(schedule)
    theirs = start()
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        estimate = f(theirs.double(), level)
        theirs = scheduler.step((estimate.eps - estimate.x0).float(), t, theirs).prev_sample
    ours = integrate(f, dpmpp_2m(lower_final=steps < 15), start(), levels).x
    assert_close(ours, theirs, 1e-5)


EXACT = {
    "karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "exponential": (DPMSolverMultistepScheduler, {"use_exponential_sigmas": True}),
    "beta": (UniPCMultistepScheduler, {"use_beta_sigmas": True}),
    "trailing": (UniPCMultistepScheduler, {"timestep_spacing": "trailing"}),
    "sigma_min": (DPMSolverMultistepScheduler, {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}),
    "cosine": (DPMSolverMultistepScheduler, {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}),
    "trained betas": (
        DPMSolverMultistepScheduler,
        {
            "trained_betas": [i / 20_000 for i in range(1, 301)],
            "num_train_timesteps": 300,
            "timestep_spacing": "trailing",
        },
    ),
    "flow sigmas, dpm": (DPMSolverMultistepScheduler, {"use_flow_sigmas": True, "flow_shift": 5.0}),
    "flow sigmas, unipc": (UniPCMultistepScheduler, {"use_flow_sigmas": True, "flow_shift": 5.0}),
    "flow matching": (FlowMatchEulerDiscreteScheduler, {"shift": 3.0}),
    "euler": (EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
}
ROUNDED = {  # to trained steps by diffusers; its integer stride for "leading" loses up to a label a step
    "linspace": (DPMSolverMultistepScheduler, {}, 0.51),
    "linspace, euler": (EulerDiscreteScheduler, {}, 1e-4),
    "leading": (DPMSolverMultistepScheduler, {"timestep_spacing": "leading", "steps_offset": 1}, 25),
    "leading, ddim": (DDIMScheduler, {"steps_offset": 1}, 1e-4),
    "leading, to the first trained step": (DDIMScheduler, {"steps_offset": 1, "set_alpha_to_one": False}, 1e-4),
    "scaled linear": (DPMSolverMultistepScheduler, {"beta_schedule": "scaled_linear", "beta_end": 0.012}, 0.51),
}


def configured(kind, options, steps):
    scheduler = kind(**options)
    scheduler.set_timesteps(steps)
    return scheduler, scheduler_from_config({**scheduler.config, "_class_name": kind.__name__})


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("steps", [1, 10, 25])
def test_levels_of_a_scheduler_config(name, steps):
    scheduler, reader = configured(*EXACT[name], steps)
    levels = reader.grid(steps)
    ours = [level.sigma if isinstance(reader.schedule, Flow) else level.edm_sigma for level in levels]
    assert ours == pytest.approx(scheduler.sigmas.tolist(), rel=2e-4, abs=2e-6)
    labels = [reader.timestep(level) for level in levels[:-1]]
    assert labels == pytest.approx(scheduler.timesteps.tolist(), abs=1.0)


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("steps", [2, 10, 25])
def test_labels_of_a_scheduler_config(name, steps):
    kind, options, tolerance = ROUNDED[name]
    scheduler, reader = configured(kind, options, steps)
    labels = [reader.timestep(level) for level in reader.grid(steps)[:-1]]
    assert labels == pytest.approx(scheduler.timesteps.tolist(), abs=tolerance)


def test_zero_terminal_snr_of_a_scheduler_config():
    """All levels but the first agree; the first of diffusers holds more signal than the second."""
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    scheduler, reader = configured(DPMSolverMultistepScheduler, options, 10)
    edm_sigmas = [level.edm_sigma for level in reader.grid(10)]
    assert edm_sigmas[1:] == pytest.approx(scheduler.sigmas.tolist()[1:], rel=2e-3)
    assert edm_sigmas[0] > 1e4


def test_scheduler_config_names_the_prediction():
    for theirs, ours in {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}.items():
        assert scheduler_from_config({"prediction_type": theirs}).predicts == ours
    assert scheduler_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"}).predicts == "flow"


def test_scheduler_config_is_read_from_what_diffusers_saves(tmp_path):
    DDIMScheduler(beta_end=0.012).save_pretrained(tmp_path)
    read = [read_scheduler_config(path) for path in (tmp_path, tmp_path / "scheduler_config.json")]
    schedule = read[0].schedule
    assert isinstance(schedule, DiscreteVP)
    table = torch.tensor(schedule.alphas_cumprod)
    torch.testing.assert_close(table, DDIMScheduler(beta_end=0.012).alphas_cumprod, rtol=1e-4, atol=0)
    assert schedule == read[1].schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a JSON object"),
        (" " * 2_000_000, "at most"),
        ('{"_class_name": "DDIMSchedule"}', "DDIMSchedule"),
        ('{"prediction_type": "noise"}', "prediction_type"),
        ('{"beta_schedule": "sigmoid"}', "beta_schedule"),
        ('{"timestep_spacing": "random"}', "timestep_spacing"),
        ('{"num_train_timesteps": 1e12}', "num_train_timesteps"),
        ('{"num_train_timesteps": NaN}', "num_train_timesteps"),
        ('{"num_train_timesteps": "1000"}', "num_train_timesteps"),
        ('{"beta_end": 0}', "inside"),
        ('{"beta_end": 1}', "inside"),
        ('{"trained_betas": "abc"}', "trained_betas"),
        ('{"trained_betas": [0.1]}', "trained_betas"),
        ('{"use_lu_lambdas": true}', "use_lu_lambdas"),
        ('{"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true}', "constant shift"),
    ],
)
def test_unusable_scheduler_configs_are_refused(tmp_path, text, message):
    path = tmp_path / "scheduler_config.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_scheduler_config(path)


def test_a_missing_scheduler_config_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_scheduler_config(tmp_path)
