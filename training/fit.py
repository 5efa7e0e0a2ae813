"""The training loop of every network: averaged weights, checkpoints of stopped runs, and progress."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.readback import read_back

Network = TypeVar("Network", bound=nn.Module)
Batch = tuple[Tensor, ...]
Objective = Callable[..., Tensor]  # (network, *batch) -> loss


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Length, learning rates and checkpoints of a training.

    The options of every training are a subclass. `decay` and `matrix_rate` belong to a network: no option sets them.
    """

    decay: ClassVar[float] = 0.999  # of the average
    matrix_rate: ClassVar[float] = 3e-3  # learning rate of Muon, adjusted to the RMS of AdamW's; falls as `rate` does
    steps: int  # at most
    minutes: float = math.inf  # at most, over all runs from the first step on
    rate: float  # learning rate of AdamW; constant after a short warm-up, falling to zero over the last 30 %
    seed: int = 0
    dtype: str = "float32"  # "bfloat16" computes in half precision where the device is fast at it
    device: str = "cpu"  # of the networks and the optimizers
    every: int = 200  # steps between checkpoints


@dataclass(frozen=True)
class Progress:
    """The state of a training at a checkpoint."""

    step: int
    steps: int
    loss: float  # mean since the last checkpoint
    validation: float  # loss of the averaged weights on held-out data
    seconds: float  # since this run began or resumed
    seconds_left: float


class Average(Generic[Network]):
    """Exponential moving average of the weights, quick at first: min(decay, (1 + n) / (10 + n)); buffers are copied."""

    def __init__(self, net: Network, decay: float):
        self.net, self.decay = deepcopy(net).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, net: Network, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)
        for mine, other in zip(self.net.buffers(), net.buffers(), strict=True):
            mine.copy_(other)


def rate_at(step: int, done: float) -> float:
    """Share of the learning rate at a step, with a share of the run done.

    It warms up over 200 steps, is constant, and falls linearly to zero over the last 30 % of the run.
    """
    return min(1, (step + 1) / 200, (1 - done) / 0.3)


def fit(
    net: Network,
    objective: Objective,
    batches: Callable[[int], Iterator[Batch]],
    validation: Callable[[], Batch],
    plan: Plan,
    checkpoint: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    matrices: Sequence[nn.Parameter] = (),
) -> Network:
    """Trains from the last checkpoint, or the beginning, to the end; returns the averaged network.

    `batches` makes the stream of batches from a step on, and `validation` the held-out batch; both may be on the CPU.
    An objective draws its noise on the CPU, so that a seed means the same on every device. The averaged network is on
    the CPU. Muon (Jordan et al. 2024) trains the 2-D weights `matrices`, AdamW all others. Raises UsageError for a
    checkpoint of other networks.
    """
    device = torch.device(plan.device)
    net.to(device)
    average = Average(net, plan.decay)
    optimizers = _optimizers(net, matrices, plan)
    first, spent = _resume(checkpoint, net, average.net, list(optimizers))
    if (done := _done(plan, first, spent)) >= 1:
        return average.net.to("cpu")
    torch.manual_seed(plan.seed + first)  # a resumed run draws new noise
    held_out, stream = _moved(validation(), device), batches(first)
    half = torch.autocast(device.type, torch.bfloat16, enabled=plan.dtype == "bfloat16")
    total, count, started, step = torch.zeros((), device=device), 0, time.monotonic(), first
    while done < 1:
        for optimizer, rate in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(step, done)
        with half:
            loss = objective(net, *_moved(next(stream), device))
        net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(net, step)
        total, count, step = total + loss.detach(), count + 1, step + 1
        seconds = time.monotonic() - started
        done = _done(plan, step, spent + seconds)
        if step % plan.every == 0 or done >= 1:
            state = {"net": net.state_dict(), "average": average.net.state_dict()}
            states = [optimizer.state_dict() for optimizer in optimizers]
            _replace(checkpoint, {**state, "optimizers": states, "step": step, "seconds": spent + seconds})
            mean, error = read_back(total) / count, _validate(average.net, objective, held_out, half)
            left = min(seconds / (step - first) * (plan.steps - step), 60 * plan.minutes - spent - seconds)
            on_progress(Progress(step, plan.steps, mean, error, seconds, max(left, 0.0)))
            total, count = torch.zeros_like(total), 0
    return average.net.to("cpu")


def noise_like(x: Tensor) -> Tensor:
    """Return standard normal noise in the shape and on the device of `x`, drawn on the CPU."""
    return torch.randn_like(x, device="cpu").to(x.device)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return tuple(each.to(device) for each in batch)


def _optimizers(net: nn.Module, matrices: Sequence[nn.Parameter], plan: Plan) -> dict[torch.optim.Optimizer, float]:
    """AdamW and, where there are matrices, Muon, each with its learning rate."""
    ours = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in net.parameters() if id(parameter) not in ours]
    adamw = torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
    if not matrices:
        return {adamw: plan.rate}
    muon = torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return {adamw: plan.rate, muon: plan.matrix_rate}


def _done(plan: Plan, step: int, seconds: float) -> float:
    """Share of a run that `step` steps in `seconds` seconds are."""
    return max(step / plan.steps, seconds / (60 * plan.minutes))


def _resume(
    path: Path, net: nn.Module, average: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, float]:
    """Restores the checkpoint and returns its step and its seconds of training; zeros without a checkpoint."""
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
    except Exception as error:
        raise UsageError(
            f"{path} is damaged, of an earlier version, or of a network of other size: remove it, or change the folder"
        ) from error
    return state["step"], state["seconds"]


def _validate(net: nn.Module, objective: Objective, batch: Batch, half: torch.autocast) -> float:
    """The objective on the fixed validation batch, with the same noise every time."""
    with torch.no_grad(), torch.random.fork_rng(devices=()), half:
        torch.manual_seed(0)
        return read_back(objective(net, *batch))


def _replace(path: Path, state: dict) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
