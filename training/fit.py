"""The loop that trains every network: averaged weights, checkpoints that survive a stop, a watcher that is told."""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from fastdiff.solvers.errors import UsageError

Network = TypeVar("Network", bound=nn.Module)
Batch = tuple[Tensor, ...]
Objective = Callable[..., Tensor]  # (network, *batch) -> loss


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network learns."""

    steps: int
    rate: float  # learning rate; constant after a short warm-up, falling to zero over the last 30 %
    seed: int = 0
    dtype: str = "float32"  # "bfloat16" computes in half precision where the processor is fast at it
    every: int = 200  # steps between checkpoints
    decay: float = 0.999  # of the average


@dataclass(frozen=True)
class Progress:
    """What a watcher is told at every checkpoint."""

    step: int
    steps: int
    loss: float  # mean since the last checkpoint
    validation: float  # of the averaged weights, on data that never train
    seconds: float  # since this run began or went on
    seconds_left: float


class Average(Generic[Network]):
    """Exponential moving average of the weights, quick at first: min(decay, (1 + n) / (10 + n))."""

    def __init__(self, net: Network, decay: float):
        self.net, self.decay = deepcopy(net).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, net: Network, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate at a step: warm-up over 200, constant, linear to zero over the last 30 %."""
    return min(1, (step + 1) / 200, (steps - step) / (0.3 * steps))


def fit(
    net: Network,
    objective: Objective,
    batches: Callable[[int], Iterator[Batch]],
    validation: Callable[[], Batch],
    plan: Plan,
    checkpoint: Path,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Network:
    """Trains from the last checkpoint, or the beginning, to the end; returns the averaged network.

    `batches` makes the stream of batches from a step on. Raises UsageError for a checkpoint of other networks.
    """
    average = Average(net, plan.decay)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
    first = _resume(checkpoint, net, average.net, optimizer)
    if first >= plan.steps:
        return average.net
    torch.manual_seed(plan.seed + first)  # going on, the noise is new
    held_out, stream = validation(), batches(first)
    half = torch.autocast("cpu", torch.bfloat16, enabled=plan.dtype == "bfloat16")
    total, count, started = 0.0, 0, time.monotonic()
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * rate_at(step, plan.steps)
        with half:
            loss = objective(net, *next(stream))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update(net, step)
        total, count = total + loss.item(), count + 1
        if (step + 1) % plan.every == 0 or step + 1 == plan.steps:
            state = {"net": net.state_dict(), "average": average.net.state_dict()}
            _replace(checkpoint, {**state, "optimizer": optimizer.state_dict(), "step": step + 1})
            error, seconds = _validate(average.net, objective, held_out, half), time.monotonic() - started
            left = seconds / (step + 1 - first) * (plan.steps - step - 1)
            watch(Progress(step + 1, plan.steps, total / count, error, seconds, left))
            total, count = 0.0, 0
    return average.net


def _resume(path: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Puts everything back to where the checkpoint was written and returns its step; 0 without a checkpoint."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:
        raise UsageError(f"{path} is damaged or of a network of other size: remove it, or change the folder") from error
    return state["step"]


def _validate(net: nn.Module, objective: Objective, batch: Batch, half: torch.autocast) -> float:
    """The objective on the fixed validation batch, with the same noise every time."""
    with torch.no_grad(), torch.random.fork_rng(), half:
        torch.manual_seed(0)
        return objective(net, *batch).item()


def _replace(path: Path, state: dict) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
