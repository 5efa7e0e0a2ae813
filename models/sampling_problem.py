"""Sampling problems for measuring and tuning: a model with seeded batches of conditions and noise.

An item is one sample. Its noise and its conditions depend only on the seed and its number. Held-out items use other
seeds, and other prompts or the other halves of the pages.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from fastdiff.models import fingerprint, recogniser
from fastdiff.models.captions import caption
from fastdiff.models.catalogue import find
from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_model
from fastdiff.models.residual import residual_denoiser, residual_schedule
from fastdiff.models.restorers import bundled, read_pair
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.errors import MissingError, UsageError
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Schedule

RESTORERS = {"docclean": "clean", "docclean-deblur": "deblur"}  # names of the bundled denoisers -> tasks
GUIDANCE = 4.5  # of text-conditioned models
CROP = 128  # pixels of a side, of pages
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
TRIES = 8  # crops of which the one with most ink is taken

Bind = Callable[[Sequence[np.random.Generator], bool], Denoiser]  # (a source of choices an item, held out) -> denoiser


@dataclass(frozen=True)
class SamplingProblem:
    """A network, its schedule, and the source of its conditions."""

    name: str  # as a person gave it
    source: Path  # its folder or file
    fingerprint: str
    schedule: Schedule
    clean: bool  # whether its own runs end with a step to sigma 0
    guidance: float
    shape: tuple[int, ...]  # of a state, without the batch
    description: str  # what it is conditioned on, for people
    conditions: str  # a digest of that
    device: str
    bind: Bind
    network: nn.Module = field(default_factory=nn.Identity)  # which `bind` calls; some have none

    def batch(self, items: Sequence[int], seed: int = 0, *, held: bool = False) -> tuple[Denoiser, Tensor]:
        """Return a denoiser for these items and their states (B, ...) at the schedule's noisiest level."""
        own = 2 * seed + held  # fitting seeds are even, held-out ones odd
        f = self.bind([np.random.default_rng([own, item]) for item in items], held)
        like = torch.empty(len(items), *self.shape, device=self.device)
        return f, self.schedule.level(self.schedule.start).sigma * Noise(own, tuple(items))(like)

    def batches(
        self, count: int, seed: int = 0, *, first: int = 0, held: bool = False, rows: int = 4
    ) -> Iterator[tuple[Denoiser, Tensor]]:
        """Yield `count` items from `first` on, `rows` per batch."""
        for item in range(first, first + count, rows):
            yield self.batch(range(item, min(item + rows, first + count)), seed, held=held)


def load_sampling_problem(
    model: str,
    *,
    guidance: float | None = None,
    size: int | None = None,
    prompts: Sequence[str] = (),
    pages: Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SamplingProblem:
    """The subject that a name stands for: one of RESTORERS, a file of such weights, or what `load_model` takes.

    `guidance` defaults to GUIDANCE for text-conditioned models, and is 1 for others. `size` is the side of its square
    pictures in pixels, by default that of its training. `prompts` are drawn from at random, by default captions for the
    bundled scenes and nothing said for other models. `pages` is a folder of degraded pages for restorers, by default
    the samples that come along.

    Raises UsageError for an unknown model, and options that do not fit it; MissingError for one that is not here.
    """
    if model in RESTORERS or Path(model).is_file():
        if prompts or guidance not in (None, 1):
            raise UsageError(f"{model} takes no prompts: give it neither prompts nor guidance")
        path = bundled(RESTORERS[model]) if model in RESTORERS else Path(model)
        return _of_restorer(model, path, pages, size or CROP, device, dtype)
    if pages is not None:
        raise UsageError(f"{model} restores no pages: one of {', '.join(RESTORERS)} does")
    prior = load_model(model, device, dtype)
    prior.network.requires_grad_(False)
    return _of_prior(prior, guidance, size or prior.resolution, tuple(prompts), device)


def _of_prior(
    prior: DiffusionModel, guidance: float | None, side: int, prompts: tuple[str, ...], device: str
) -> SamplingProblem:
    if not prior.text_conditioned and (prompts or guidance not in (None, 1)):
        raise UsageError(f"{prior.name} takes no prompts: give it neither prompts nor guidance")
    scale = guidance if guidance is not None else GUIDANCE if prior.text_conditioned else 1.0
    draw, description = _texts(prior, prompts)

    def bind(choices: Sequence[np.random.Generator], held: bool) -> Denoiser:
        with torch.no_grad():
            conditioning = prior.encode_prompts([draw(choice, held) for choice in choices])
        return guided_denoiser(prior, conditioning, scale, (side, side))

    with torch.no_grad():
        shape = tuple(prior.encode(torch.zeros(1, 3, side, side)).shape[1:])
    trained = prior.scheduler((side, side))
    return SamplingProblem(
        prior.name,
        find(prior.name),
        fingerprint.of_folder(prior.name),
        trained.schedule,
        trained.clean,
        scale,
        shape,
        description,
        hashlib.sha256("\n".join(prompts).encode()).hexdigest(),
        device,
        bind,
        prior.network,
    )


def _texts(prior: DiffusionModel, prompts: tuple[str, ...]) -> tuple[Callable[[np.random.Generator, bool], str], str]:
    """Return a function that draws the prompt of an item, and a description of the prompts."""
    if prompts:
        known = {held: prompts[held :: 2 if len(prompts) > 1 else 1] for held in (False, True)}
        return lambda choice, held: str(choice.choice(known[held])), f"{len(prompts)} prompts"
    if prior.name == "scenes":
        labels = recogniser.bundled().labels
        return lambda choice, held: _scene(choice, labels), "captions of scenes"
    return lambda choice, held: "", "the empty prompt" if prior.text_conditioned else "nothing"


def _scene(choice: np.random.Generator, labels: recogniser.Labels) -> str:
    kind = str(choice.choice(labels.kinds))
    colours = choice.choice(labels.colours, 1 if kind == "plain" else 2, replace=False)
    return caption(str(choice.choice(labels.concepts)), kind, [str(colour) for colour in colours])


def _of_restorer(
    name: str, path: Path, folder: Path | None, side: int, device: str, dtype: torch.dtype
) -> SamplingProblem:
    pair = read_pair(path)
    denoiser = pair.denoiser
    if denoiser is None:
        raise MissingError(f"{name} holds no denoiser: there is nothing to sample with")
    pages = _pages(folder, side)
    schedule = residual_schedule()
    made = fingerprint.of_network(denoiser, schedule, "x0")
    predictor = pair.predictor.to(device).requires_grad_(False)
    net = denoiser.to(device).requires_grad_(False)

    def typed(*inputs: Tensor) -> Tensor:
        with torch.autocast(inputs[0].device.type, dtype, enabled=dtype != torch.float32):
            out: Tensor = net(*inputs)
            return out.float()

    def bind(choices: Sequence[np.random.Generator], held: bool) -> Denoiser:
        crops = torch.stack([_crop(choice, pages, side, held) for choice in choices]).to(device)
        with torch.no_grad():
            degraded = crops[:, None].expand(-1, pair.channels, -1, -1)
            condition = denoiser.condition(predictor(degraded), degraded)
        return residual_denoiser(typed, condition, denoiser.scale)

    shape = (pair.channels, side, side)
    description, content = f"crops of {len(pages)} pages", hashlib.sha256(b"".join(page.numpy().data for page in pages))
    digest = content.hexdigest()
    return SamplingProblem(name, path, made, schedule, True, 1.0, shape, description, digest, device, bind, net)


def _pages(folder: Path | None, side: int) -> list[Tensor]:
    """Return the pages of a folder, grey (H, W) in [0, 1], both halves of which hold a crop."""
    where = folder or Path(str(files("fastdiff.data") / "samples"))
    paths = sorted(path for path in where.glob("*") if path.suffix.lower() in SUFFIXES) if where.is_dir() else []
    pages = [page for path in paths if (page := _read(path)).shape[0] >= 2 * side and page.shape[1] >= side]
    if not pages:
        raise UsageError(f"{where} holds no page of {side}x{2 * side} pixels or more: give a folder of such images")
    return pages


def _read(path: Path) -> Tensor:
    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32) / 255)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not a readable image") from error


def _crop(choice: np.random.Generator, pages: Sequence[Tensor], side: int, held: bool) -> Tensor:
    """Return the highest-contrast square of TRIES random ones in a page's upper half, or its lower half if held out."""
    page = pages[int(choice.integers(len(pages)))]
    half = page.shape[0] // 2
    rows, columns = half - side + 1, page.shape[1] - side + 1
    corners = [(held * half + choice.integers(rows), choice.integers(columns)) for _ in range(TRIES)]
    return max((page[top : top + side, left : left + side] for top, left in corners), key=lambda crop: crop.std())
