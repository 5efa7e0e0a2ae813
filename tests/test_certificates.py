"""Every registered solver has its certificates, and a certificate fails where its promise is broken."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from problems import DISCRETE, random_state
from tiny_transformer import CHANNELS, LENGTH, randoms, tiny

from fastdiff.inversion.certificates import CERTIFICATES, ON_A_NETWORK, candidate, certify
from fastdiff.inversion.obelm import OBELM
from fastdiff.solvers.certificates import CLOSED_FORM, Candidate, Problem, inverts
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Network, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import dpmpp_3m
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.exponential import X0_SDE
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.metadata import METADATA
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS

NOISE = Noise()
EXACTLY_INVERTED = {"ddim", "euler", "heun", "dpmpp-2s", "dpm-1", "sde-dpmpp-1", "sde-dpmpp-2m"}


def applies(kind: str, name: str) -> bool:
    return {
        "order": name != "evodiff",
        "round trip": inverts(SOLVERS[name]()),
        "exact inverse": name in EXACTLY_INVERTED,
    }.get(kind, True)


@pytest.mark.parametrize("kind", CERTIFICATES)
@pytest.mark.parametrize("name", SOLVERS)
def test_certificate(name: str, kind: str) -> None:
    verdict = CERTIFICATES[kind](candidate(name))
    assert verdict.passed is (True if applies(kind, name) else None), verdict


@pytest.mark.parametrize("kind", sorted(CERTIFICATES.keys() - {"round trip", "exact inverse"}))
def test_a_solver_that_is_its_own_inverse_has_them_too(kind: str) -> None:
    assert CERTIFICATES[kind](Candidate(OBELM, 2)).passed


def test_every_registered_solver_is_described() -> None:
    assert set(SOLVERS) == set(METADATA)
    for name, about in METADATA.items():
        authors, number = about.paper
        assert authors[-4:].isdigit() and len(number) == 10, name


@dataclass(frozen=True)
class Broken(DDIM):
    """DDIM that breaks one promise."""

    fault: str = ""
    past: list[Any] = field(default_factory=list)

    def step(self, f: Any, x: Any, step: Any, state: None) -> Any:
        t, u = step.t, step.u
        if self.fault == "finite" and u.sigma == 0:
            x = x / u.sigma
        if self.fault == "nfe":
            f(x, t)
        if self.fault == "batches":
            x = x + 1e-12 * x.mean()
        if self.fault == "threads":
            x = x + 1e-12 * sum(self.past)
            self.past[:] = [x.mean().item()]
        if self.fault == "gradient":
            estimate = f(x, t)
            f = Said(f.schedule, Estimate(estimate.x0.detach(), estimate.eps))
        x, _ = super().step(f, x, step, state)
        if self.fault == "round trip":
            x = x + 1e-3
        return x.round(decimals=3) if self.fault == "exact inverse" else x, None


@dataclass(frozen=True)
class Said(SingleLevelDenoiser):
    schedule: Any
    estimate: Estimate

    def __call__(self, x: Any, level: Any) -> Estimate:
        return self.estimate

    def fresh(self) -> "Said":
        return self


@pytest.mark.parametrize("kind", sorted(CERTIFICATES.keys() - {"order"}))
def test_a_certificate_fails_where_its_promise_is_broken(kind: str) -> None:
    solver = Broken(fault=kind)
    verdict = CERTIFICATES[kind](Candidate(lambda: solver, 1))
    assert verdict.passed is False, verdict
    assert CERTIFICATES[kind](Candidate(Broken, 1)).passed


def test_a_division_by_zero_is_not_finite() -> None:
    class Divides(DDIM):
        def step(self, f: Any, x: Any, step: Any, state: None) -> Any:
            return super().step(f, x * (step.u.sigma / step.u.sigma), step, state)

    verdict = CERTIFICATES["finite"](Candidate(Divides, 1))
    assert verdict.passed is False and not verdict.measured.startswith("0 ")


@pytest.mark.parametrize(
    ("make", "claimed", "measured"),
    [
        (DDIM, 2, "1.00 and 0.99"),
        (lambda: dpmpp_3m(published=True), 3, "1.97 and 2.03"),
        (lambda noise=NOISE: Multistep(1, X0_SDE, noise=noise), 2, "0.98"),
        (lambda noise=NOISE: Loud(1, X0_SDE, noise=noise), 1, "-0.21"),
    ],
)
def test_a_claim_of_another_order_fails(make: Any, claimed: int, measured: str) -> None:
    verdict = CERTIFICATES["order"](Candidate(make, claimed))
    assert verdict.passed is False
    assert verdict.measured == measured


def test_a_solver_of_ones_own_is_certified_by_its_own_order_or_another() -> None:
    own, other = (next(iter(certify(DDIM, order))) for order in (None, 2))
    assert own[0] == other[0] == "order"
    assert own[1].passed and own[1].expected == "1 within 0.15"
    assert other[1].passed is False and other[1].expected == "2 within 0.15"


class Loud(Multistep):
    """The steps of the SDE with more noise than they need."""

    def transition(self, *given: Any) -> Any:
        mean, deviation, after = super().transition(*given)
        return mean, 1.1 * deviation, after


def network(rows: slice = slice(None)) -> Network:
    net, words = tiny(depth=1), randoms(2, LENGTH, CHANNELS)[rows]

    def call(x: Any, label: Any) -> Any:
        nothing = {"resolution": None, "aspect_ratio": None}
        return net(x, words, label, added_cond_kwargs=nothing).sample[:, :4]

    return Network(call, DISCRETE, "eps", timestep=DISCRETE.timestep)


@pytest.fixture(scope="module")
def problem() -> Problem:
    levels = grid(time_uniform, DISCRETE, 3, clean=True)
    items = (network(slice(0, 1)), network(slice(1, 2)))
    return Problem(network(), random_state(2, 4, 8, 8, dtype=torch.float32), levels, 1e-3, items)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp-3s", "unipc", "sde-dpmpp-2m", "sa-solver"])
def test_certificates_on_a_network(name: str, problem: Problem) -> None:
    verdicts = {kind: certificate(candidate(name), problem) for kind, certificate in ON_A_NETWORK.items()}
    told = verdicts.pop("round trip")
    assert all(verdict.passed for verdict in verdicts.values()), verdicts
    assert told.passed is None
    recorded = isinstance(SOLVERS[name](), Multistep) and SOLVERS[name]().stochastic
    assert ("Reversed" in told.measured) == inverts(SOLVERS[name]())
    assert ("EditFriendly" in told.measured) == recorded


def test_certificates_on_a_network_can_fail(problem: Problem) -> None:
    solver = Broken(fault="nfe")
    assert not ON_A_NETWORK["nfe"](Candidate(lambda: solver, 1), problem).passed
    swapped = replace(problem, items=problem.items[::-1])
    assert not ON_A_NETWORK["batches"](Candidate(DDIM, 1), swapped).passed
    infinite = replace(problem, x=problem.x * torch.inf)
    assert not ON_A_NETWORK["finite"](Candidate(DDIM, 1), infinite).passed


def test_certificates_are_the_same_at_every_run() -> None:
    def figures() -> list[str]:
        return [certificate(candidate("dpmpp-2m")).measured for certificate in CERTIFICATES.values()]

    assert figures() == figures()
    assert CLOSED_FORM.tolerance == 0
