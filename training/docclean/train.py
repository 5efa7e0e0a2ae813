"""Trains the two networks of document clean-up; a stopped run resumes from its last checkpoint."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size, alphas_cumprod, in_colour, load, seeing_degraded
from fastdiff.models.restorers import read_pair
from fastdiff.solvers.errors import UsageError
from fastdiff.training import card
from fastdiff.training.docclean import colour_pool, losses, pool
from fastdiff.training.docclean.colour_dataset import ColourMixture, ColourPatches
from fastdiff.training.docclean.dataset import Mixture, Patches
from fastdiff.training.fit import Objective, Plan, Progress, fit, noise_like

STAGES = ("predictor", "denoiser")
HELD_OUT = 1_000_003  # added to the seed for what never trains


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Plan):
    """A training run. The networks of one restorer share a folder: `predictor` first, `denoiser` on top of it."""

    folder: Path  # checkpoints, the pool of clean pages and the finished weights
    stage: str = "predictor"  # one of STAGES
    steps: int = 20_000
    batch: int = 16
    rate: float = 1e-3  # learning rate; constant after a short warm-up, falling to zero over the last 30 %
    width: int = 16
    levels: int = 4
    pages: int = 800  # in the pool
    own: Path | None = None  # folder of the user's clean pages, the first in the pool; the others are rendered
    mixture: Mixture | ColourMixture = field(default_factory=Mixture)  # the latter trains on colour pages
    start_from: Path | None = None  # initial weights, as `read_pair` reads them; grey ones may begin colour

    @property
    def colour(self) -> bool:
        return isinstance(self.mixture, ColourMixture)


def run(options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None) -> Path:
    """Train one stage and return its weights file; `STAGE.json` beside it holds the settings.

    Raises UsageError for an unknown stage, a missing predictor, unreadable pages, and weights or checkpoints of other
    networks; MissingError if the fonts of rendered pages are not installed.
    """
    torch.manual_seed(options.seed)
    size = Size(3 if options.colour else 1, options.width, options.levels)
    net, objective = _stage(options.stage, size, options.folder, options.device)
    _fill(options)
    if options.start_from:
        _begin_with(net, options.start_from, options.stage, options.colour)
    elif isinstance(net, ResidualDenoiser):
        begin_with_predictor(net, _finished_predictor(options.folder), *_held_out(options))
    net.to(memory_format=torch.channels_last)
    average = fit(
        net,
        objective,
        lambda first: _batches(options, first),
        lambda: _held_out(options),
        options,
        options.folder / f"{options.stage}.state.pt",
        watch,
    )
    return save(average, options.folder / f"{options.stage}.safetensors", recipe(options))


def save(net: nn.Module, target: Path, made: Mapping[str, Any]) -> Path:
    """Write finished weights in half precision, and how they were made as a JSON file beside them."""
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, target)
    target.with_suffix(".json").write_text(json.dumps(made, indent=2))
    return target


def predictor_file(folder: Path) -> Path:
    """Return the finished predictor of a folder: that of the stage ocr, if it has trained."""
    guided = folder / "ocr.safetensors"
    return guided if guided.exists() else folder / "predictor.safetensors"


def recipe(options: TrainOptions) -> dict:
    """Return the settings as plain values, without paths of this machine."""
    values = {name: value.name if isinstance(value, Path) else value for name, value in asdict(options).items()}
    if options.start_from:
        made = card.recipe(options.start_from.with_suffix(".json")).get(options.stage)
        values["start_from"] = card.begun_with(options.start_from, made)
    return card.without_machine(values, "folder", "stage")


def predictor_loss(net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
    return losses.restoration_loss(net(degraded).float(), clean)


def colour_predictor_loss(net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
    return losses.weighted_restoration_loss(net(degraded).float(), clean)


def denoiser_loss(predictor: nn.Module) -> Objective:
    """Return the loss of a denoiser behind a finished predictor: denoising error at uniform timesteps.

    The predictor is on the device of the pictures.
    """
    abar = alphas_cumprod().float()

    def loss(net: ResidualDenoiser, degraded: Tensor, clean: Tensor) -> Tensor:
        with torch.no_grad():
            restored = predictor(degraded).float()
        target = (clean - restored) / net.scale  # (B, C, H, W)
        t = torch.randint(len(abar), (len(target),))
        alpha, sigma = (share.sqrt()[:, None, None, None].to(target.device) for share in (abar[t], 1 - abar[t]))
        noisy = alpha * target + sigma * noise_like(target)
        estimate = net(noisy, t.to(target.device), net.condition(restored, degraded)).float()
        return losses.residual_loss(estimate, target, clean)

    return loss


def begin_with_predictor(denoiser: ResidualDenoiser, predictor: Predictor, degraded: Tensor, clean: Tensor) -> None:
    """Measure the scale of a new denoiser on pictures, and give it the weights of its predictor.

    They act on the degraded picture; the last convolution is zero, so that the first residual is zero. The features
    that tell strokes from blur are there: a denoiser that begins from chance needs much of its training to learn them
    again.
    """
    with torch.no_grad():
        denoiser.scale = (clean - predictor(degraded)).std()
    weights = {name: value for name, value in predictor.state_dict().items() if not name.startswith("ending")}
    intro = denoiser.intro.weight.detach().clone()  # (width, 3C, 3, 3): residual, restoration, degraded picture
    intro[:, -predictor.intro.in_channels :] = weights["intro.weight"]
    denoiser.load_state_dict(weights | {"intro.weight": intro}, strict=False)
    for last in denoiser.ending.parameters():
        nn.init.zeros_(last)


def _fill(options: TrainOptions) -> None:
    """Make the pool of clean pages unless there is one."""
    if not options.colour:
        pool.fill(options.folder / "pool", options.pages, options.seed, options.own)
    elif options.own:
        raise UsageError("colour pages are rendered: --pages goes with grey ones only")
    else:
        colour_pool.fill(options.folder / "pool", options.pages, options.seed)


def _stage(name: str, size: Size, folder: Path, device: str) -> tuple[nn.Module, Objective]:
    if name == "predictor":
        return Predictor(size), predictor_loss if size.channels == 1 else colour_predictor_loss
    if name == "denoiser":
        return ResidualDenoiser(size, sees_degraded=True), denoiser_loss(_finished_predictor(folder).to(device))
    raise UsageError(f"unknown stage '{name}': one of {', '.join(STAGES)}")


def _finished_predictor(folder: Path) -> Predictor:
    path = predictor_file(folder)
    if not path.exists():
        raise UsageError(f"the denoiser needs a finished predictor: {path} is missing")
    return load(Predictor, load_file(path))


def _begin_with(net: nn.Module, given: Path, stage: str, colour: bool) -> None:
    pair = read_pair(given)
    start = pair.predictor if stage == "predictor" else pair.denoiser
    if start is None:
        raise UsageError(f"{given} holds no denoiser to begin with")
    weights: dict[str, Tensor] = start.state_dict()
    if isinstance(start, ResidualDenoiser) and not start.sees_degraded:
        weights = seeing_degraded(weights)
    if pair.channels == 1 and colour:
        weights = in_colour(weights)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        message = f"the networks of {given} have another width, other levels or other channels than this run"
        raise UsageError(message) from error


def _held_out(options: TrainOptions) -> tuple[Tensor, Tensor]:
    """Return 64 pairs that never train."""
    patches = _patches(options, seed=options.seed + HELD_OUT)
    return next(iter(DataLoader(patches, batch_size=64)))


def _batches(options: TrainOptions, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    patches = _patches(options, seed=options.seed, start=first)
    return iter(DataLoader(patches, batch_size=options.batch, num_workers=1, prefetch_factor=4))


def _patches(options: TrainOptions, seed: int, start: int = 0) -> Patches | ColourPatches:
    folder, mixture = options.folder / "pool", options.mixture
    if isinstance(mixture, ColourMixture):
        return ColourPatches(folder, mixture, seed, start)
    return Patches(folder, mixture, seed, start)
