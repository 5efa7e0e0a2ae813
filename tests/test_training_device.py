"""One step of every training on a second device without a GPU: fake tensors have devices and shapes, and no values."""

from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size
from fastdiff.models.patch_codec import PatchCodec
from fastdiff.models.recogniser import Recogniser
from fastdiff.training import fit
from fastdiff.training.docclean import train as docclean
from fastdiff.training.edit import codec, recogniser
from fastdiff.training.edit.backbone import LONGEST, Backbone
from fastdiff.training.edit.recogniser import LABELS
from fastdiff.training.fit import Batch, Objective, Plan, Progress
from fastdiff.training.prior.network import Network
from fastdiff.training.velocity import component_weight, scheduler, velocity_loss

DEVICE = torch.device("cuda", 0)
GREY, COLOUR = Size(1, 4, 2), Size(3, 4, 2)
Training = tuple[nn.Module, Objective, Batch]


def pages(channels: int) -> Batch:
    return torch.zeros(2, channels, 32, 32), torch.zeros(2, channels, 32, 32)


def velocity() -> Objective:
    return velocity_loss(scheduler().alphas_cumprod, 500, component_weight(PatchCodec()))


def backbone() -> Training:
    return Backbone(20, 48, 16), velocity(), (torch.zeros(2, 48, 16, 16), torch.ones(2, LONGEST, dtype=torch.long))


def scenes() -> Training:
    targets = (torch.zeros(2, len(words)) for words in vars(LABELS).values())
    return Recogniser(LABELS, 16), recogniser.loss, (torch.zeros(2, 3, 128, 128), *targets)


TRAININGS: dict[str, Callable[[], Training]] = {
    "predictor": lambda: (Predictor(GREY), docclean.predictor_loss, pages(1)),
    "colour-predictor": lambda: (Predictor(COLOUR), docclean.colour_predictor_loss, pages(3)),
    "denoiser": lambda: (ResidualDenoiser(GREY), docclean.denoiser_loss(Predictor(GREY).to(DEVICE)), pages(1)),
    "backbone": backbone,
    "codec": lambda: (ConvCodec(), codec.loss, (torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64))),
    "recogniser": scenes,
    "prior": lambda: (Network(48, 16), velocity(), (torch.zeros(2, 48, 16, 16),)),
}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The checkpoints, in a mode of fake tensors. Stands in for what needs memory: moves, copies, gradients, files."""
    states: list[dict[str, Any]] = []
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(Tensor, "__deepcopy__", copied)
    monkeypatch.setattr(Tensor, "backward", fill_gradients)
    monkeypatch.setattr(fit, "read_back", lambda values: 1.0)
    monkeypatch.setattr(fit, "_replace", lambda path, state: states.append(state))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield states


def copied(values: Tensor, memo: dict[int, Any]) -> Tensor:
    """A deep copy; that of torch copies memory, which fake tensors do not have."""
    copy = values.detach().clone()
    return nn.Parameter(copy, values.requires_grad) if isinstance(values, nn.Parameter) else copy


def moved(net: nn.Module, device: torch.device | str) -> nn.Module:
    """The same as `nn.Module.to`, which does not take fake weights."""
    for module in net.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.device != torch.device(device):
                module._parameters[name] = nn.Parameter(weight.detach().to(device), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
    return net


def fill_gradients(loss: Tensor) -> None:
    """Zero gradients for all weights that the loss depends on: `backward` itself starts the driver."""
    nodes, seen = [loss.grad_fn], set[Any]()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_steps_on_a_device(name: str, saved: list[dict[str, Any]], tmp_path: Path) -> None:
    net, objective, batch = TRAININGS[name]()
    moved(net, DEVICE)
    seen: list[Progress] = []
    matrices = net.matrices() if isinstance(net, Backbone) else ()
    plan = Plan(steps=1, rate=1e-3, device=str(DEVICE))
    average = fit.fit(
        net, objective, lambda first: repeat(batch), lambda: batch, plan, tmp_path / "state.pt", seen.append, matrices
    )
    assert [progress.step for progress in seen] == [1]
    (state,) = saved
    weights = [*state["net"].values(), *state["average"].values()]
    assert all(isinstance(each, FakeTensor) and each.device == DEVICE for each in weights)
    moments = [values for optimizer in state["optimizers"] for values in optimizer["state"].values()]
    momenta = [each for values in moments for each in values.values()]
    assert len(momenta) > len(list(net.parameters())) and all(each.device == DEVICE for each in momenta)
    assert {each.device.type for each in (*average.parameters(), *average.buffers())} == {"cpu"}


def test_a_batch_that_stays_on_the_cpu_is_an_error(
    saved: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fit, "_moved", lambda batch, device: batch)
    net, objective, batch = TRAININGS["prior"]()
    plan = Plan(steps=1, rate=1e-3, device=str(DEVICE))
    with pytest.raises(RuntimeError, match=r"same device|two different devices"):
        fit.fit(moved(net, DEVICE), objective, lambda first: repeat(batch), lambda: batch, plan, tmp_path / "state.pt")
