"""Fine-tunes the predictor of deblurring so that a recogniser can read the restored words.

NAF-DPM does so with the text that an engine reads on sharp pictures; here the text is drawn, and so it is known. The
recogniser is a CRNN that trains first and is frozen then. No engine that judges pages takes part.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import kornia
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fastdiff.models.nafdpm import size_of
from fastdiff.models.restorers import read_pair
from fastdiff.solvers.errors import UsageError
from fastdiff.training import card
from fastdiff.training.docclean import losses, pool, train
from fastdiff.training.docclean.crnn import CRNN, ctc_loss, cut_words, decode, freeze, read
from fastdiff.training.docclean.dataset import Mixture, Patches
from fastdiff.training.docclean.fonts import licence
from fastdiff.training.docclean.text_patches import TextPatches, no_words
from fastdiff.training.docclean.train import TrainOptions
from fastdiff.training.fit import Batch, Objective, Plan, Progress, fit

TEXT_WEIGHT = 0.02  # of the CTC loss, relative to the distance of the pictures
RATE = 3e-4  # learning rate of the predictor, which is finished already
SLOTS = 8  # words of a patch that the recogniser reads
CRNN_STEPS, CRNN_RATE = 3000, 2e-3
CRNN_BATCH, CRNN_SLOTS = 6, 12  # patches a step, and words of a patch
LARGEST_BLUR = 1.2  # standard deviation in pixels of what the recogniser learns to read


class GuidedPatches(IterableDataset):
    """Yields patches of the pool, without words, and of known text in turn, all as `TextPatches` does."""

    def __init__(self, pages: Patches, texts: TextPatches):
        self.pages, self.texts = pages, texts

    def __iter__(self) -> Iterator[Batch]:
        for page, text in zip(self.pages, self.texts, strict=True):
            yield *page, *no_words(self.texts.slots)
            yield text


def run(
    options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None, weight: float = TEXT_WEIGHT
) -> Path:
    """Train the recogniser, then the predictor with it; return the predictor's weights, `ocr.safetensors`.

    It starts from the predictor of `options.start_from`, else from that of the folder. `ocr.json` and `crnn.json` hold
    the settings. A `weight` of zero trains on the same patches without a recogniser: the control of this stage.

    Raises UsageError for pages without known text, colour, a missing predictor, or a denoiser of the earlier one;
    MissingError if the fonts are not installed.
    """
    _check(options)
    torch.manual_seed(options.seed)
    start = options.start_from or options.folder / "predictor.safetensors"
    net = _start(start)
    pool.fill(options.folder / "pool", options.pages, options.seed)
    reader = freeze(train_crnn(options, watch)) if weight else None
    size = size_of(net.state_dict())
    average = fit(
        net.train().requires_grad_(True),
        guided_loss(reader.to(options.device), weight) if reader else _unguided_loss,
        lambda first: iter(DataLoader(_patches(options, options.seed, first), options.batch, num_workers=1)),
        lambda: next(iter(DataLoader(_patches(options, options.seed + train.HELD_OUT), batch_size=64))),
        _plan(options, options.steps, RATE),
        options.folder / "ocr.state.pt",
        watch,
    )
    made = train.recipe(replace(options, start_from=None)) | {
        "rate": RATE,
        "width": size.width,
        "levels": size.levels,
        "start_from": card.begun_with(start, _made(start, alone=not options.start_from)),
        "text_weight": weight,
        "crnn": json.loads((options.folder / "crnn.json").read_text()) if weight else None,
    }
    return train.save(average, options.folder / "ocr.safetensors", made)


def train_crnn(options: TrainOptions, watch: Callable[[Progress], None] = lambda progress: None) -> CRNN:
    """Train the recogniser on sharp and slightly blurred words; `crnn.json` has its accuracy on words held out."""
    steps = min(options.steps, CRNN_STEPS)
    sharp = Mixture(options.mixture.side, {"clean": 1.0})

    def patches(seed: int, first: int = 0) -> TextPatches:
        return TextPatches(sharp, seed, first, CRNN_SLOTS)

    held_out = next(iter(DataLoader(patches(options.seed + train.HELD_OUT), batch_size=64)))
    net = fit(
        CRNN(),
        reading_loss,
        lambda first: iter(DataLoader(patches(options.seed, first), CRNN_BATCH, num_workers=1, prefetch_factor=4)),
        lambda: held_out,
        _plan(options, steps, CRNN_RATE),
        options.folder / "crnn.state.pt",
        watch,
    )
    texts = patches(options.seed)
    made = {
        "steps": steps,
        "batch": CRNN_BATCH,
        "rate": CRNN_RATE,
        "parameters": sum(value.numel() for value in net.parameters()),
        "accuracy": round(accuracy(net, held_out[1], *held_out[2:]), 4),  # share of characters, on sharp words
        "fonts": {name: licence(name) for name in texts.families},
    }
    train.save(net, options.folder / "crnn.safetensors", made)
    return net


def guided_loss(reader: CRNN, weight: float) -> Objective:
    """Return the distance of the pictures plus `weight` times the CTC loss of a frozen recogniser."""

    def loss(net: nn.Module, degraded: Tensor, clean: Tensor, boxes: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        restored = net(degraded).float()
        text = text_loss(reader, restored.clamp(0, 1), boxes, labels, lengths)
        return losses.restoration_loss(restored, clean) + weight * text

    return loss


def text_loss(reader: nn.Module, pictures: Tensor, boxes: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return the CTC loss of the words in pictures (B, 1, H, W), at boxes as `TextPatches` yields them."""
    filled = lengths > 0  # (B, K)
    if not filled.any():
        return pictures.sum() * 0
    return ctc_loss(reader(cut_words(pictures, boxes)[filled]), labels[filled], lengths[filled])


def reading_loss(
    net: nn.Module, degraded: Tensor, clean: Tensor, boxes: Tensor, labels: Tensor, lengths: Tensor
) -> Tensor:
    """Return the CTC loss of words under a little blur; half of the patches have none."""
    blur = (torch.rand(len(clean), 1).expand(-1, 2) * LARGEST_BLUR).clamp(min=0.1).to(clean.device)
    soft = kornia.filters.gaussian_blur2d(degraded, (7, 7), blur)
    sharp = (torch.rand(len(clean), 1, 1, 1) < 0.5).to(clean.device)
    return text_loss(net, torch.where(sharp, clean, soft), boxes, labels, lengths)


@torch.no_grad()
def accuracy(net: nn.Module, pictures: Tensor, boxes: Tensor, labels: Tensor, lengths: Tensor) -> float:
    """Return the share of characters that the recogniser reads right, 1 - character error rate."""
    filled = lengths > 0
    texts = read(net(cut_words(pictures, boxes)[filled]))
    return 1 - float(jiwer.cer([decode(label) for label in labels[filled]], texts))


def _unguided_loss(net: nn.Module, degraded: Tensor, clean: Tensor, *words: Tensor) -> Tensor:
    return train.predictor_loss(net, degraded, clean)


def _check(options: TrainOptions) -> None:
    folder = options.folder
    if options.own:
        raise UsageError("the stage ocr needs pages whose text is known: leave out --pages, it draws its own")
    if options.colour:
        raise UsageError("the stage ocr restores grey text: leave out --colour")
    if not options.start_from and not (folder / "predictor.safetensors").exists():
        raise UsageError(f"the stage ocr needs a finished predictor: train one in {folder}, or give --start-from")
    if (folder / "denoiser.safetensors").exists():
        raise UsageError(
            f"the denoiser in {folder} belongs to the predictor as it is now: "
            "remove denoiser.*, and train --stage denoiser again after --stage ocr"
        )


def _start(path: Path) -> nn.Module:
    pair = read_pair(path)
    if pair.channels != 1:
        raise UsageError(f"the stage ocr restores grey text: the predictor of {path} is of colour")
    return pair.predictor


def _patches(options: TrainOptions, seed: int, first: int = 0) -> GuidedPatches:
    mixture = options.mixture
    assert isinstance(mixture, Mixture)  # colour is refused
    pages = Patches(options.folder / "pool", mixture, seed, first)
    return GuidedPatches(pages, TextPatches(mixture, seed, first, SLOTS))


def _plan(options: TrainOptions, steps: int, rate: float) -> Plan:
    return Plan(
        steps=steps,
        minutes=options.minutes,
        rate=rate,
        seed=options.seed,
        dtype=options.dtype,
        device=options.device,
        every=options.every,
    )


def _made(weights: Path, alone: bool) -> dict[str, Any] | None:
    """Return how a predictor was made, from its own record if it is `alone`, else from its card."""
    record = weights.with_suffix(".json")
    if alone:
        return json.loads(record.read_text()) if record.exists() else None
    return card.recipe(record).get("predictor")
