"""Pictures from captions alone: the shape of the emoji, and how often the judge reads the caption."""

from typing import Any

import numpy as np
import torch

from benchmarks.edit.cases import as_picture, judge
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table, means
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, draw

CAPTIONS = 500
CALLS = (10, 20)
GUIDANCE = 4.0
SOLVER = "dpmpp-2m"
BATCH = 20
SEED = 6_000_003


@torch.inference_mode()
def run(model: str, limit: int | None) -> Section:
    backbone, renderer, found = load_editable(model), Renderer(), judge()
    rng, measure = np.random.default_rng(SEED), ShapeMeasure(renderer)
    scenes = [draw(rng) for _ in range(CAPTIONS if limit is None else min(CAPTIONS, limit))]
    rows: list[dict[str, Any]] = []
    strips = []
    for first in range(0, len(scenes), BATCH):
        mine = scenes[first : first + BATCH]
        truth = torch.stack([as_tensor(renderer.picture(scene)) for scene in mine])
        f = guided_denoiser(
            backbone, backbone.encode_prompts([scene.caption for scene in mine]), GUIDANCE, (SIDE, SIDE)
        )
        noise = Noise(0, tuple(range(first, first + len(mine))))(backbone.encode(truth))
        made = {"true renders": truth, "codec's ceiling": backbone.decode(backbone.encode(truth)).clamp(-1, 1)}
        for calls in CALLS:
            levels = grid(time_uniform, backbone.trained.schedule, calls)
            latents = integrate(f, SOLVERS[SOLVER](), noise, levels).x
            made[f"{SOLVER}, {calls} calls"] = backbone.decode(latents).clamp(-1, 1)
        for name, pictures in made.items():
            for reading, scene, sampled in zip(found.read(pictures), mine, pictures, strict=True):
                shape = measure(as_picture(sampled[None]), scene.concept)
                right = {"concept": reading.concept == scene.concept, "caption": reading.caption == scene.caption}
                rows.append({"made": name, "shape": shape.psnr, "edges": shape.edges, **right})
        sides = zip(*(list(pictures) for pictures in made.values()), strict=True)
        strips += [
            Strip(scene.caption, 0, tuple(as_picture(each[None]) for each in row))
            for scene, row in zip(mine, sides, strict=True)
        ]
    measures = ("shape", "edges", "concept", "caption")
    title = "Captions to pictures: shape in dB, edges in [-1, 1], and shares that the judge reads right"
    table = Table(title, ("made", *measures, "n"), means(rows, "made", measures))
    return Section([table], rows, strips)
