"""Whether negative prompts are obeyed: by guidance in a long run and in few calls, and by the SpeedUpNet.

The prompt is an emoji alone, which leaves the background open. The negative prompt names the colour that the same
sampler draws there without it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accelerate.emoji_measure import EmojiMeasure
from benchmarks.accelerate.text_to_image import Sampler, guided_sampler, speedup_sampler
from benchmarks.bootstrap import paired_difference
from benchmarks.edit.cases import as_picture, judge
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.models.captions import background
from fastdiff.models.registry import load_editable
from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.render import Renderer

MODEL, GUIDANCE = "scenes", 4.5
LONG, FEW = ("dpmpp-2m", 25), ("unipc", 4)  # solver and calls
SEEDS, BATCH, SHOWN = 48, 16, 24
SEED = 8_000_009  # of prompts and of other colours
NONE, OTHER, OWN = "none", "another colour", "its colour"  # negative prompts
COLUMNS = (
    "", "rows", f"found, {OTHER}", "found", "against another", "against the long run", "concept, none", "concept",
    "shape, none", "shape",
)  # fmt: skip
NOTE = (
    f"Guidance {GUIDANCE:g}, but for the SpeedUpNet. The negative prompt is that of a background in the largest colour "
    "that the judge reads without it, so that without it all pictures have this colour. Found: the share that still "
    "have it, with a negative prompt of another colour, which changes the open background too, and with that of this "
    "colour. Its difference to the other one and to the long run have 95 % intervals, paired by seed. The share of "
    "pictures whose emoji the judge reads and the PSNR of its shape in dB, without and with the negative prompt."
)


@torch.inference_mode()
def run(limit: int | None) -> Section:
    rng, measure = np.random.default_rng(SEED), EmojiMeasure(judge(), ShapeMeasure(Renderer()))
    prompts = [str(rng.choice(list(CONCEPTS))) for _ in range(SEEDS if limit is None else min(SEEDS, limit))]
    compared = list(samplers())
    pages: list[dict[str, Any]] = []
    strips: list[Strip] = []
    for first in range(0, len(prompts), BATCH):
        mine = prompts[first : first + BATCH]
        columns: list[Tensor] = []
        for sampler in compared:
            pictures, found = _with_and_without(sampler, mine, tuple(range(first, first + len(mine))), measure)
            columns += pictures
            pages += found
        strips += _strips(mine, columns)
    rows = [_row(sampler, pages, compared[0]) for sampler in compared]
    return Section([Table("Negative prompts", COLUMNS, rows, NOTE)], pages, strips[:SHOWN])


def samplers() -> Iterator[Sampler]:
    """Yield the long run, a plain solver in as many calls as the SpeedUpNet, and the SpeedUpNet."""
    model = load_editable(MODEL)
    for solver, calls in (LONG, FEW):
        yield guided_sampler(model, GUIDANCE, solver, calls)
    yield speedup_sampler(model)


def _with_and_without(
    sampler: Sampler, prompts: Sequence[str], numbers: tuple[int, ...], measure: EmojiMeasure
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Return pictures (B, 3, H, W) without a negative prompt and with it, and the measures for all negative prompts."""
    plain = sampler(prompts, numbers)
    measures = {NONE: list(measure(prompts, plain))}
    seen = [page["colours"] for page in measures[NONE]]
    unwanted = [colours[0] for colours in seen]
    pictures = {}
    for kind, colours in ((OTHER, [*map(_other_colour, seen, numbers)]), (OWN, unwanted)):
        pictures[kind] = sampler(prompts, numbers, [background("plain", (colour,)) for colour in colours])
        measures[kind] = list(measure(prompts, pictures[kind]))
    pages = [
        {"sampler": sampler.name, "negative": kind, "prompt": prompt, "found": colour in page["colours"]} | page
        for kind, found in measures.items()
        for prompt, colour, page in zip(prompts, unwanted, found, strict=True)
    ]
    return [plain, pictures[OWN]], pages


def _other_colour(seen: Sequence[str], number: int) -> str:
    """Return a colour that a picture does not have, drawn by its number."""
    drawn = np.random.default_rng((SEED, number)).permutation(list(COLOURS)).tolist()
    return next(str(colour) for colour in drawn if colour not in seen)


def _row(sampler: Sampler, pages: Sequence[dict[str, Any]], long: Sampler) -> tuple[Any, ...]:
    none, other, own = (_pages(pages, sampler, kind) for kind in (NONE, OTHER, OWN))
    against_long = "" if sampler is long else _difference(_pages(pages, long, OWN), own)
    kept = [mean(each, key) for key in ("concept", "shape") for each in (none, own)]
    found = (mean(other, "found"), mean(own, "found"), _difference(other, own), against_long)
    return sampler.name, sampler.rows, *found, *kept


def _difference(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> str:
    found, still = (np.array([page["found"] for page in each]) for each in (before, after))
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*paired_difference(found, still))


def _pages(pages: Sequence[dict[str, Any]], sampler: Sampler, kind: str) -> list[dict[str, Any]]:
    return [page for page in pages if (page["sampler"], page["negative"]) == (sampler.name, kind)]


def _strips(prompts: Sequence[str], columns: Sequence[Tensor]) -> Iterator[Strip]:
    for prompt, *pictures in zip(prompts, *columns, strict=True):
        yield Strip(prompt, 0, tuple(as_picture(picture[None]) for picture in pictures))
