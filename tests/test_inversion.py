"""Inversion: what every method promises, published round trips, and what is refused."""

from dataclasses import dataclass, replace

import pytest
import torch
from known import known
from problems import (
    CENTRES,
    LINEAR_BETAS,
    MIXTURE,
    MIXTURE_END,
    MIXTURE_START,
    SMOOTH,
    STIFF,
    Clusters,
    guided,
)

from fastdiff.inversion.ddim_inverse import DDIMInverse
from fastdiff.inversion.direct_inversion import apply_direct_inversion
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.inversion.registry import FLOW_ONLY, INVERTERS
from fastdiff.inversion.reversed import Reversed
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser, DenoiserWrapper, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.grids import grid, linspace, log_snr
from fastdiff.solvers.integration import Progress, Step, integrate
from fastdiff.solvers.noise import Noise

EXACT = ["edit-friendly", "ledits", "lcm", "o-belm"]  # for any network, to rounding
ON_ANY_MODEL = [name for name in INVERTERS if name not in FLOW_ONLY]
SOURCE = Clusters(LINEAR_BETAS, 0.7 * CENTRES[:2], 0.6)
TARGET = Clusters(LINEAR_BETAS, 0.7 * CENTRES[2:4], 0.6)


@dataclass(frozen=True)
class Rows(SingleLevelDenoiser):
    """The first `count` rows under one denoiser, the others under another: a source beside its edits."""

    count: int
    first: Denoiser
    others: Denoiser

    @property
    def schedule(self):
        return self.first.schedule

    def __call__(self, x, level):
        parts = zip(self.first(x[: self.count], level), self.others(x[self.count :], level), strict=True)
        return Estimate(*(torch.cat(part) for part in parts))

    def fresh(self):
        return self


@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_an_inversion_holds_its_path_calls_and_round_trip_error(name):
    f, x0, levels = CountingDenoiser(SMOOTH), SMOOTH.sample(3), grid(linspace, LINEAR_BETAS, 12)
    inversion = invert(f, x0, levels, INVERTERS[name](), measure=False)
    assert f.tally.nfe == inversion.nfe
    assert inversion.residual is None
    assert inversion.trajectory.shape == (13, 3, 64)
    assert torch.equal(inversion.trajectory[-1], x0)
    measured = invert(SMOOTH, x0, levels, INVERTERS[name]())
    again = integrate(SMOOTH, measured.solver, measured.x, levels).x
    assert torch.equal(measured.x, inversion.x)
    torch.testing.assert_close(measured.residual, (again - x0).norm(dim=1) / x0.norm(dim=1))


@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_an_item_is_inverted_alike_alone_and_in_a_batch(name):
    x0, levels = SMOOTH.sample(3), grid(linspace, LINEAR_BETAS, 8)
    batch = invert(SMOOTH, x0, levels, INVERTERS[name]()).trajectory
    for item in range(3):
        inverter = INVERTERS[name]()
        if isinstance(inverter, EditFriendly):
            inverter = replace(inverter, noise=Noise(0, (item,)))
        alone = invert(SMOOTH, x0[item : item + 1], levels, inverter).trajectory
        torch.testing.assert_close(alone[:, 0], batch[:, item], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_edits_share_a_batch_with_their_sources(name):
    x0, levels = SOURCE.sample(2), grid(linspace, LINEAR_BETAS, 10)
    inversion = invert(SOURCE, x0, levels, INVERTERS[name]())
    source, target = regenerate(SOURCE, inversion), regenerate(TARGET, inversion)
    rows = regenerate(Rows(2, SOURCE, TARGET), inversion, copies=3)
    torch.testing.assert_close(rows, torch.cat([source, target, target]), rtol=0, atol=1e-12)
    assert (target - source).abs().max() > 0.1


@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_offsets_keep_the_source_on_its_trajectory_and_leave_the_edit_alone(name):
    """The source is guided otherwise than it was inverted."""
    x0, levels = SOURCE.sample(2), grid(linspace, LINEAR_BETAS, 10)
    inversion = invert(SOURCE, x0, levels, INVERTERS[name]())
    rows = Rows(2, guided(SOURCE, SMOOTH, 3.0), TARGET)
    free, seen = regenerate(rows, inversion, copies=2), list[Progress]()
    held = regenerate(rows, apply_direct_inversion(inversion), copies=2, watch=seen.append)
    assert all(torch.equal(now.x[:2], inversion.trajectory[now.step.index + 1]) for now in seen)
    assert torch.equal(held[:2], x0) and (free[:2] - x0).abs().max() > 1e-3
    assert torch.equal(held[2:], free[2:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 10, 20, 50])
def test_offsets_are_exact_for_any_number_of_steps(steps, dtype):
    for f in (SMOOTH, STIFF):
        x0, levels = f.sample(2).to(dtype), grid(linspace, LINEAR_BETAS, steps)
        inversion = invert(f, x0, levels, INVERTERS["ddim"]())
        assert torch.equal(regenerate(guided(SOURCE, f, 4.5), apply_direct_inversion(inversion)), x0)
        assert known(inversion.residual).min() > 1e-3


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("steps", [1, 2, 10, 20, 50])
@pytest.mark.parametrize("name", EXACT)
def test_exact_methods_are_exact_for_any_network_and_number_of_steps(name, steps, guidance):
    for f in (SMOOTH, STIFF):
        network = guided(replace(f, means=f.means[:2]), f, guidance)
        levels = grid(linspace, LINEAR_BETAS, steps)
        for dtype, bound in ((torch.float64, 1e-10 if name == "o-belm" else 1e-12), (torch.float32, 1e-4)):
            x0 = f.sample(3).to(dtype)
            inversion = invert(network, x0, levels, INVERTERS[name]())
            assert (regenerate(network, inversion) - x0).abs().max() < (bound if name == "o-belm" else min(bound, 2e-5))


@pytest.mark.parametrize("name", ["ddim", "reversed"])
def test_inexact_methods_are_inexact_on_the_same_problems(name):
    for f in (SMOOTH, STIFF):
        inversion = invert(f, f.sample(3), grid(linspace, LINEAR_BETAS, 20), INVERTERS[name]())
        assert known(inversion.residual).min() > 1e-3


@pytest.mark.parametrize("name", ON_ANY_MODEL)
def test_gradients_flow_through_inversion_and_regeneration(name):
    f, levels = MIXTURE, grid(log_snr, MIXTURE.schedule, 3)
    x0 = torch.tensor([[0.4, -0.7]], dtype=torch.float64, requires_grad=True)
    inversion = invert(f, x0.detach(), levels, INVERTERS[name]())

    def perturbed(delta):
        return regenerate(f, replace(inversion, trajectory=inversion.trajectory + delta))

    assert torch.autograd.gradcheck(perturbed, torch.zeros_like(x0).requires_grad_())
    inverted = lambda x: invert(f, x, levels, INVERTERS[name]()).trajectory  # noqa: E731
    assert torch.autograd.gradcheck(inverted, x0, eps=1e-5, atol=1e-6)  # wide of what a search leaves over


@pytest.mark.parametrize(
    ("steps", "there_and_back", "from_exact"),
    [(10, 4.7e-2, 5.1e-2), (20, 8.7e-3, 1.7e-2), (40, 1.10e-3, 4.6e-3), (80, 1.35e-4, 1.2e-3), (160, 1.6e-5, 3.1e-4)],
)
def test_published_errors_of_2m_inversion(steps, there_and_back, from_exact):
    levels = grid(log_snr, MIXTURE.schedule, steps)
    begin = torch.tensor([MIXTURE_START], dtype=torch.float64)
    end = integrate(MIXTURE, dpmpp_2m(), begin, levels).x
    back = integrate(MIXTURE, dpmpp_2m(), end, levels[::-1]).x
    exact = integrate(MIXTURE, dpmpp_2m(), torch.full_like(begin, MIXTURE_END), levels[::-1]).x
    assert abs(back - begin).item() == pytest.approx(there_and_back, rel=0.06)
    assert abs(exact - begin).item() == pytest.approx(from_exact, rel=0.06)


def test_ddim_inverse_is_one_sweep_of_the_implicit_equation():
    """Asked for the noise that the true state has there, its step is the exact inverse of DDIM's."""
    t, u = LINEAR_BETAS.level(0.2), LINEAR_BETAS.level(0.5)
    y = SMOOTH.sample(2)
    clean, _ = DDIM().step(SMOOTH, y, Step(0, 1, u, t), None)

    class Oracle(DenoiserWrapper):
        def __call__(self, x, level):
            assert level == u
            return self.inner(y, level)

    inverted, _ = DDIMInverse().step(Oracle(SMOOTH), clean, Step(0, 1, t, u), None)
    torch.testing.assert_close(inverted, y, rtol=0, atol=1e-12)


def test_what_cannot_be_inverted_is_refused():
    x0, falling = SMOOTH.sample(1), grid(linspace, LINEAR_BETAS, 4)
    with pytest.raises(UsageError, match="noisiest level first"):
        invert(SMOOTH, x0, falling[::-1], Reversed())
    with pytest.raises(UsageError, match="sigma above 0"):
        invert(SMOOTH, x0, grid(linspace, LINEAR_BETAS, 4, clean=True), EditFriendly())
    with pytest.raises(UsageError, match="adds noise"):
        Reversed(EulerAncestral())
    with pytest.raises(UsageError, match="3 rows for an inversion of 2 pictures"):
        inversion = invert(SMOOTH, SMOOTH.sample(2), falling, EditFriendly())
        integrate(SMOOTH, inversion.solver, SMOOTH.sample(3), falling)
