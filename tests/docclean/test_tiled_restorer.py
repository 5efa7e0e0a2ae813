"""The diffusion stage around networks whose right answer is known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size
from fastdiff.models.restorers import Pair
from fastdiff.solvers.registry import SOLVERS

PAGE = torch.rand(40, 56, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.2
TRUE_RESIDUAL = 0.2


class Untouched(Predictor):
    def forward(self, y: Tensor) -> Tensor:
        return y


class Oracle(ResidualDenoiser):
    """Knows the residual; keeps what it is called with."""

    def __init__(self, sees_degraded: bool = False) -> None:
        super().__init__(Size(1, 4, 2), sees_degraded)
        self.labels: list[float] = []
        self.states: list[Tensor] = []
        self.conditions: list[Tensor] = []

    def forward(self, residual: Tensor, label: Tensor, condition: Tensor) -> Tensor:
        assert residual.shape[2:] == condition.shape[2:] and label.shape == residual.shape[:1]
        self.labels.append(label[0].item())
        self.states.append(residual[..., : PAGE.shape[0], : PAGE.shape[1]])
        self.conditions.append(condition)
        return torch.full_like(residual, TRUE_RESIDUAL) / self.scale


def oracle(solver: str, calls: int, net: Oracle | None = None) -> tuple[TiledRestorer, Oracle]:
    net = net or Oracle()
    return TiledRestorer(Pair(Untouched(Size(1, 4, 2)), net, channels=1), SOLVERS[solver], calls), net


@pytest.mark.parametrize("solver", ["ddim", "dpmpp-2m"])
def test_a_denoiser_that_sees_the_degraded_page_works_on_scaled_residuals(solver: str) -> None:
    """The residual is 4 deviations: it would be clipped if the bounds were those of unscaled residuals."""
    net = Oracle(sees_degraded=True)
    net.scale = torch.tensor(TRUE_RESIDUAL / 4)
    restorer, net = oracle(solver, 3, net)
    torch.testing.assert_close(restorer(PAGE, 0), PAGE + TRUE_RESIDUAL, rtol=0, atol=1e-5)
    restored, degraded = net.conditions[0].chunk(2, dim=1)  # Untouched gives the page back
    assert torch.equal(restored, degraded) and degraded.std() > 0


@pytest.mark.parametrize("calls", [1, 2, 3, 5])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_true_residual_is_found_in_no_more_calls_than_given(solver: str, calls: int) -> None:
    restorer, net = oracle(solver, calls)
    torch.testing.assert_close(restorer(PAGE, 0), PAGE + TRUE_RESIDUAL, rtol=0, atol=1e-5)
    assert len(net.labels) == restorer.nfe
    assert calls - 1 <= restorer.nfe <= calls


@pytest.mark.parametrize("calls", [1, 4, 20])
def test_the_network_gets_the_timesteps_of_its_training(calls: int) -> None:
    """Timesteps fall from 99 to 0; the published code uses ten times higher ones."""
    restorer, net = oracle("ddim", calls)
    restorer(PAGE, 0)
    assert net.labels == pytest.approx([99 - 99 * i / max(calls - 1, 1) for i in range(calls)], abs=1e-4)


def test_without_calls_the_predictor_answers() -> None:
    restorer, net = oracle("ddim", 0)
    assert torch.equal(restorer(PAGE, 0), PAGE)
    assert net.labels == [] and restorer.nfe == 0


def test_results_are_clipped_to_what_a_page_can_show() -> None:
    restorer, _ = oracle("ddim", 1)
    assert restorer(torch.ones(20, 20), 0).max() == 1


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Untrained networks, which answer something."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Pair(Predictor(Size(1, 4, 2)).eval(), ResidualDenoiser(Size(1, 4, 2)).eval(), channels=1)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp-2m", "euler-ancestral", "sde-dpmpp-2m"])
def test_seed_and_page_name_the_noise(pair: Pair, solver: str) -> None:
    restorer = TiledRestorer(pair, SOLVERS[solver], 3, seed=4)
    first = restorer(PAGE, 7)
    assert torch.equal(restorer(PAGE, 7), first)
    assert not torch.allclose(restorer(PAGE, 8), first, atol=1e-3)
    assert not torch.allclose(replace(restorer, seed=5)(PAGE, 7), first, atol=1e-3)


def test_stochastic_steps_draw_their_noise_for_the_page_too() -> None:
    """After the first step nothing is left of the start: two pages differ by what the step added."""
    after = []
    for key in (1, 2):
        restorer, net = oracle("sde-dpmpp-1", 2)
        restorer(PAGE, key)
        after.append((net.states[1] - net.states[1].mean()).flatten())
    assert abs(torch.cosine_similarity(after[0], after[1], dim=0)) < 0.2


def test_a_colour_network_sees_grey_pages() -> None:
    restorer = TiledRestorer(Pair(Predictor(Size(3, 4, 2)).eval(), None, channels=3), SOLVERS["ddim"], 0)
    assert restorer(PAGE, 0).shape == PAGE.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_restores_as_the_processor_does(pair: Pair) -> None:
    page = torch.rand(300, 400)
    on_cpu = TiledRestorer(pair, SOLVERS["dpmpp-2m"], 3)(page, 0)
    on_gpu = TiledRestorer(pair, SOLVERS["dpmpp-2m"], 3, device="cuda")(page, 0)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=2e-3)
