"""What today's libraries get wrong on these inputs, measured on diffusers 0.42.1; ours must not."""

from itertools import pairwise

import pytest
import torch
from known import known
from problems import DISCRETE, Gaussian, Mixture

from fastdiff.inversion.inversion import invert
from fastdiff.inversion.reversed import Reversed
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.dpm_solver import dpmpp_2m, dpmpp_3m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import X0_SDE
from fastdiff.solvers.grids import grid, karras, log_snr, time_uniform
from fastdiff.solvers.integration import Progress, integrate, steps_of
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Flow
from fastdiff.solvers.unipc import UniPC

F = Mixture(DISCRETE)


def state(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("sigmas", ["karras", "exponential", "beta"])
def test_no_call_is_spent_on_a_repeated_level(sigmas):
    """There the last sigma of a run to sigma_min comes twice."""
    config = {f"use_{sigmas}_sigmas": True, "final_sigmas_type": "sigma_min"}
    levels = scheduler_from_config(config).grid(12)
    assert len(levels) == 13
    assert all(t.lam < u.lam for t, u in pairwise(levels))


@pytest.mark.parametrize("steps", [10, 14, 15, 20, 50])
@pytest.mark.parametrize(
    "solver",
    [dpmpp_3m(), dpmpp_3m(lower_final=False), UniPC(3), UniPC(3, lower_final=False)],
    ids=["dpmpp-3m", "dpmpp-3m without lower_final", "unipc-3", "unipc-3 without lower_final"],
)
def test_third_order_on_karras_levels_is_finite(solver, steps):
    """There DPM++ 3M is NaN from 15 steps on."""
    for clean in (False, True):
        assert torch.isfinite(integrate(F, solver, state(4), grid(karras, F.schedule, steps, clean)).x).all()


@pytest.mark.parametrize("steps", [100, 200])
def test_inversion_on_karras_levels_reaches_the_noisiest(steps):
    """There 100 steps become 95 and end at sigma 12.35 of 14.61."""
    seen = list[Progress]()
    integrate(F, DDIM(), state(4), grid(karras, F.schedule, steps)[::-1], watch=seen.append)
    assert len(seen) == steps
    assert seen[-1].step.u.edm_sigma == pytest.approx(14.6146, abs=1e-3)


def test_inversion_of_a_flow_model_adds_noise():
    """There it runs from 0.999 down to 0.167."""
    f = Mixture(Flow(shift=3.0))
    levels = grid(time_uniform, f.schedule, 50)
    seen = list[Progress]()
    integrate(f, dpmpp_2m(), state(4), levels[::-1], watch=seen.append)
    sigmas = [progress.step.u.sigma for progress in seen]
    assert sigmas == sorted(sigmas) and sigmas[-1] > 0.999
    inversion = invert(f, state(4), grid(log_snr, f.schedule, 50), Reversed(dpmpp_2m()))
    assert known(inversion.residual).max() < 1e-2


def test_inversion_with_a_stochastic_solver_is_refused():
    """There the first step is NaN."""
    with pytest.raises(UsageError, match="adds noise and cannot invert"):
        integrate(F, SOLVERS["sde-dpmpp-2m"](), state(4), grid(log_snr, F.schedule, 5)[::-1])


def test_third_order_sde_runs():
    """There it raises UnboundLocalError."""
    solver = Multistep(3, X0_SDE, noise=Noise(0))
    assert torch.isfinite(integrate(F, solver, state(4), grid(log_snr, F.schedule, 8, clean=True)).x).all()


def test_cosine_betas_with_karras_levels_run():
    """There the pair raises IndexError."""
    reader = scheduler_from_config({"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True})
    f, levels = Mixture(reader.schedule), reader.grid(20)
    assert len(levels) == 21
    assert torch.isfinite(integrate(f, dpmpp_2m(), state(4), levels).x).all()


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_two_interleaved_runs_share_a_solver(name):
    """There the second loop raises IndexError."""
    solver, levels = SOLVERS[name](), grid(log_snr, F.schedule, 5)
    alone = integrate(F, solver, state(3), levels).x
    states = [(state(3), solver.init(levels)), (state(3), solver.init(levels))]
    for step in steps_of(levels):
        states = [solver.step(F, x, step, memory) for x, memory in states]
    assert all(torch.equal(x, alone) for x, _ in states)


@pytest.mark.parametrize("name", ["sde-dpmpp-1", "sde-dpmpp-2m", "euler-ancestral"])
def test_noise_of_an_item_does_not_depend_on_the_batch(name):
    levels = grid(log_snr, F.schedule, 5)
    alone, batch = (integrate(F, SOLVERS[name](noise=Noise(3)), state(2, 4)[:n], levels).x for n in (1, 2))
    torch.testing.assert_close(alone[0], batch[0], rtol=0, atol=1e-14)


def test_one_step_of_flow_matching_is_finite():
    """There a terminal shift makes sigma NaN; we refuse the option, and one step works without."""
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    reader = scheduler_from_config(config)
    x = integrate(Gaussian(reader.schedule), DDIM(), state(4), reader.grid(1)).x
    torch.testing.assert_close(x, torch.full_like(x, 1.0))  # the data mean is all that pure noise tells
    with pytest.raises(UsageError, match="shift_terminal"):
        scheduler_from_config(config | {"shift_terminal": 0.1})


def test_labels_are_not_rounded_to_trained_steps():
    """There labels are integers, which caps the accuracy of a run at about 1e-4."""

    def net(x, label):
        return F(x, DISCRETE.at_timestep(label[0].item())).eps

    def run(steps):
        f = Network(net, DISCRETE, "eps", DISCRETE.timestep, dtype=torch.float64)
        return integrate(f, UniPC(2, lower_final=False), state(4), grid(log_snr, DISCRETE, steps)).x

    reference = integrate(F, UniPC(3, lower_final=False), state(4), grid(log_snr, DISCRETE, 1000)).x
    assert (run(192) - reference).abs().max() < 2e-6
