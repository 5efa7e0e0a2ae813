"""The training loop on a network of a few weights."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from known import known
from torch import Tensor, nn

from fastdiff.training.card import without_machine
from fastdiff.training.fit import Batch, Plan, Progress, fit, noise_like, rate_at


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(self.norm(x)).tanh())[:, 0]


class QuickMuon(Plan):
    matrix_rate = 1e-2


class LastWeights(Plan):
    decay = 0.0


def loss(net: nn.Module, x: Tensor) -> Tensor:
    return (net(x) - x.sum(1)).square().mean()


def batches(first: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(first)
    while True:
        yield (2 + torch.randn(16, 4, generator=generator),)


def trained(folder: Path, plan: Plan, *, muon: bool = False) -> tuple[Net, list[Progress]]:
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    net, seen = Net(), list[Progress]()
    average = fit(
        net,
        loss,
        batches,
        lambda: next(batches(1000)),
        plan,
        folder / "state.pt",
        seen.append,
        [net.get_parameter("inner.weight")] if muon else (),
    )
    return average, seen


@pytest.mark.parametrize("muon", [False, True])
def test_the_loss_falls(tmp_path: Path, muon: bool) -> None:
    _, seen = trained(tmp_path, QuickMuon(steps=600, rate=1e-2, every=100), muon=muon)
    assert seen[-1].step == 600 and seen[-1].validation < 0.3 * seen[0].loss


def test_the_average_has_the_running_statistics(tmp_path: Path) -> None:
    average, _ = trained(tmp_path, Plan(steps=100, rate=1e-3, every=100))
    assert torch.allclose(known(average.norm.running_mean), torch.full((4,), 2.0), atol=0.3)


def test_a_training_without_decay_returns_its_last_weights(tmp_path: Path) -> None:
    average, _ = trained(tmp_path, LastWeights(steps=5, rate=1e-3))
    last = torch.load(tmp_path / "state.pt", weights_only=True)["net"]
    assert all(torch.equal(value, last[name]) for name, value in average.state_dict().items())


def test_minutes_end_a_run_and_count_over_resumed_runs(tmp_path: Path) -> None:
    plan = Plan(steps=10**9, rate=1e-3, every=10**9, minutes=0.01)
    _, first = trained(tmp_path, plan)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert [progress.step for progress in first] == [state["step"]] and 0.6 <= state["seconds"] < 5
    assert trained(tmp_path, plan)[1] == []
    longer = trained(tmp_path, Plan(steps=10**9, rate=1e-3, every=10**9, minutes=0.01 + state["seconds"] / 60))[1]
    assert longer[0].step > state["step"] and longer[0].seconds < 5


def test_a_run_with_muon_resumes_its_momentum(tmp_path: Path) -> None:
    trained(tmp_path, Plan(steps=5, rate=1e-3), muon=True)
    states = torch.load(tmp_path / "state.pt", weights_only=True)["optimizers"]
    assert len(states) == 2 and states[1]["state"][0]["momentum_buffer"].shape == (8, 4)
    _, resumed = trained(tmp_path, Plan(steps=7, rate=1e-3), muon=True)
    assert resumed[0].step == 7


def test_the_rate_warms_up_and_falls_in_the_end() -> None:
    assert rate_at(0, 0.0) == pytest.approx(1 / 200)
    assert rate_at(1000, 0.5) == 1
    assert rate_at(1000, 0.85) == pytest.approx(0.5)
    assert rate_at(1000, 1.0) == 0


def test_a_run_of_another_device_resumes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        trained(tmp_path, Plan(steps=5, rate=1e-3))
    _, resumed = trained(tmp_path, Plan(steps=7, rate=1e-3))
    assert resumed[0].step == 7


def test_cards_hold_no_infinity_and_nothing_of_the_machine() -> None:
    options = {"steps": 3, "minutes": math.inf, "device": "cuda", "folder": Path("runs"), "seed": 0}
    assert without_machine(options, "folder") == {"steps": 3, "seed": 0}


def test_noise_is_that_of_the_seed_in_the_layout_of_its_tensor() -> None:
    x = torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    drawn = noise_like(x)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.randn_like(x)) and drawn.stride() == x.stride()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_few_steps_on_a_gpu_are_those_of_the_cpu(tmp_path: Path) -> None:
    there, _ = trained(tmp_path / "gpu", Plan(steps=20, rate=1e-3, device="cuda"), muon=True)
    here, _ = trained(tmp_path / "cpu", Plan(steps=20, rate=1e-3), muon=True)
    for ours, theirs in zip(there.parameters(), here.parameters(), strict=True):
        assert ours.device.type == "cpu" and torch.allclose(ours, theirs, atol=1e-3)
