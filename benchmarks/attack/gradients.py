"""Compares the four gradients: success, cosine to the true gradient, seconds."""

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.attack.cases import Case, Setting, cases
from benchmarks.result import Section, Table, mean
from fastdiff.apps.attack.latents import Latents, prepare
from fastdiff.apps.attack.objective import Goal
from fastdiff.apps.attack.presets import GRADIENTS, PRESETS, Preset
from fastdiff.apps.attack.search import search
from fastdiff.apps.canvas import fit_canvas
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.models.registry import load_model
from fastdiff.solvers.noise import Noise

PICTURES = 6
AWAY = 0.05  # standard deviation of the perturbation at which gradients are compared


def run(setting: Setting) -> Section:
    classifier, prior = load_classifier("efficientnet-lite0"), load_model(setting.model)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases(setting, PICTURES)):
        true: Tensor | None = None
        for name in ("backprop", *(name for name in GRADIENTS if name != "backprop")):
            preset = replace(PRESETS["natural"], gradient=name, last=1)  # the last of the two steps from x_k on
            with torch.no_grad():
                began = time.perf_counter()
                space, goal = _prepared(case, number, prior, preset)
                found = search(space, classifier, goal, preset)
                seconds = time.perf_counter() - began
                gradient = _gradient(space, classifier, goal)
            true = gradient if true is None else true
            cosine = float(torch.cosine_similarity(gradient.flatten(), true.flatten(), dim=0))
            success = bool(found.margin > 0)
            rows.append({"gradient": name, "success": success, "cosine": cosine, "seconds": seconds,
                         "iterations": int(found.iterations)})  # fmt: skip
    lines = []
    for name in GRADIENTS:
        mine = [row for row in rows if row["gradient"] == name]
        lines.append((name, *(mean(mine, key) for key in ("success", "cosine", "seconds", "iterations")), len(mine)))
    columns = ("gradient", "success", "cosine", "seconds", "iterations", "pictures")
    return Section([Table("Gradients through the prior, natural and targeted", columns, lines)], rows)


def _prepared(case: Case, number: int, prior: DiffusionModel, preset: Preset) -> tuple[Latents, Goal]:
    canvas = fit_canvas(case.colour, max(prior.resolution, 224), prior.size_multiple)
    space, _ = prepare(prior, preset, canvas, [""], Noise(0, (number,)))
    return space, Goal(torch.tensor([case.target]), targeted=True)


def _gradient(space: Latents, classifier: ClassifierTarget, goal: Goal) -> Tensor:
    """Return the gradient of the score, a little away from the unperturbed picture."""
    made, pull = space.sampled(AWAY * Noise(1, (0,))(space.unperturbed))
    made = made.detach().requires_grad_()
    with torch.enable_grad():
        score = goal.score(classifier(space.decode(made)), "ce").sum()
    return pull(torch.autograd.grad(score, made)[0])
