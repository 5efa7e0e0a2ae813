"""Trains the two networks of document clean-up on rendered pages; any run can be stopped and goes on where it was."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size, alphas_cumprod, load
from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean import losses
from fastdiff.training.docclean.dataset import Mixture, Patches, render_pool


@dataclass(frozen=True)
class TrainOptions:
    """A training run. The networks of one restorer share a folder: `predictor` first, `denoiser` on top of it."""

    folder: Path  # checkpoints, the rendered pool and the finished weights
    stage: str = "predictor"  # or "denoiser"
    steps: int = 20_000
    batch: int = 16
    rate: float = 1e-3  # learning rate; constant after a short warm-up, falling to zero over the last 30 %
    width: int = 16
    levels: int = 4
    pages: int = 800  # in the rendered pool
    seed: int = 0
    dtype: str = "float32"  # "bfloat16" computes in half precision where the processor is fast at it
    every: int = 500  # steps between checkpoints
    mixture: Mixture = field(default_factory=Mixture)
    start_from: Path | None = None  # weights of an earlier run to begin with


@dataclass(frozen=True)
class Progress:
    """What a watcher is told at every checkpoint."""

    step: int
    steps: int
    loss: float  # mean since the last checkpoint
    validation: float  # of the averaged weights, on patches that never train
    seconds: float


class Average:
    """Exponential moving average of the weights, quick at first: min(decay, (1 + n) / (10 + n))."""

    def __init__(self, net: nn.Module, decay: float = 0.999):
        self.net, self.decay = deepcopy(net).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate at a step: warm-up over 200, constant, linear to zero over the last 30 %."""
    return min(1, (step + 1) / 200, (steps - step) / (0.3 * steps))


def run(options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None) -> Path:
    """Trains one stage and returns its weights file. Raises UsageError for an unknown stage or a missing predictor."""
    size = Size(1, options.width, options.levels)
    render_pool(options.folder / "pool", options.pages, options.seed)
    if options.stage == "predictor":
        net, objective = Predictor(size), predictor_loss
    elif options.stage == "denoiser":
        net, objective = ResidualDenoiser(size), denoiser_loss(_finished_predictor(options.folder))
    else:
        raise UsageError(f"unknown stage '{options.stage}': one of predictor, denoiser")
    if options.start_from:
        net.load_state_dict({name: value.float() for name, value in load_file(options.start_from).items()})
    net.to(memory_format=torch.channels_last)
    return _fit(net, objective, options, watch)


Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def predictor_loss(net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
    return losses.restoration(net(degraded).float(), clean)


def denoiser_loss(predictor: nn.Module) -> Objective:
    """The residual's denoising error at uniform training steps, behind a finished predictor."""
    abar = alphas_cumprod().float()

    def loss(net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        with torch.no_grad():
            restored = predictor(degraded).float()
        target = clean - restored  # (B, 1, H, W)
        t = torch.randint(len(abar), (len(target),))
        alpha, sigma = abar[t].sqrt()[:, None, None, None], (1 - abar[t]).sqrt()[:, None, None, None]
        noisy = alpha * target + sigma * torch.randn_like(target)
        return losses.residual(net(noisy, t, restored).float(), target)

    return loss


def _finished_predictor(folder: Path) -> nn.Module:
    path = folder / "predictor.safetensors"
    if not path.exists():
        raise UsageError(f"the denoiser needs a finished predictor: {path} is missing")
    return load(Predictor, load_file(path))


def _fit(net: nn.Module, objective: Objective, options: TrainOptions, watch: Callable[[Progress], None]) -> Path:
    torch.manual_seed(options.seed)
    average = Average(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
    state_file = options.folder / f"{options.stage}.state.pt"
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        net.load_state_dict(state["net"])
        average.net.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    held_out = Patches(options.folder / "pool", options.mixture, seed=options.seed + 1_000_003)
    validation = next(iter(DataLoader(held_out, batch_size=64)))
    stream = Patches(options.folder / "pool", options.mixture, seed=options.seed, start=first)
    batches = iter(DataLoader(stream, batch_size=options.batch, num_workers=1, prefetch_factor=4))
    half = torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16")
    total, started = 0.0, time.monotonic()
    for step in range(first, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_at(step, options.steps)
        with half:
            loss = objective(net, *next(batches))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update(net, step)
        total += loss.item()
        if (step + 1) % options.every == 0 or step + 1 == options.steps:
            state = {"net": net.state_dict(), "average": average.net.state_dict()}
            _replace(state_file, {**state, "optimizer": optimizer.state_dict(), "step": step + 1})
            count = (step - first) % options.every + 1
            error = _validate(average.net, objective, validation, half)
            watch(Progress(step + 1, options.steps, total / count, error, time.monotonic() - started))
            total = 0.0
    weights = options.folder / f"{options.stage}.safetensors"
    save_file({name: value.half().contiguous() for name, value in average.net.state_dict().items()}, weights)
    return weights


def _validate(net: nn.Module, objective: Objective, pair: tuple[Tensor, Tensor], half) -> float:
    """The objective on the fixed validation patches, with the same noise every time."""
    with torch.no_grad(), torch.random.fork_rng(), half:
        torch.manual_seed(0)
        return objective(net, *pair).item()


def _replace(path: Path, state: dict) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def recipe(options: TrainOptions) -> dict:
    """The run as plain values, for the card."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
