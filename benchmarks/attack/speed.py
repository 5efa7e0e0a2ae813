"""Time per success: the default against DiffAttack's setting on the same prior, classifier and stopping rule."""

import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from benchmarks.attack.cases import Setting, cases, pictures
from benchmarks.result import Section, Table
from fastdiff.apps.canvas import fit_canvas
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_model

PICTURES = 20
REPEATS = 5
CONFIDENCE = 0.02  # margin in logits that both must reach


def run(setting: Setting) -> Section:
    methods = ("natural", "diffattack")
    reports = {
        method: setting.attack(f"speed-{method}", PICTURES, method=method, confidence=CONFIDENCE, early_stop=True)
        for method in methods
    }
    rows = []
    for name, report in reports.items():
        summary = report.summary
        per_success = summary["seconds"] / summary["succeeded"] if summary["succeeded"] else None
        calls = summary["calls"] / max(summary["attacked"], 1)
        rows.append((name, f"{summary['succeeded']}/{summary['of']}", summary["seconds_per_image"], per_success, calls))
    natural, diffattack = (row[3] for row in rows)
    note = f"diffattack takes {diffattack / natural:.1f} times as long for a success" if natural and diffattack else ""
    compared = Table(
        f"One stopping rule: {CONFIDENCE} logits ahead",
        ("way", "succeeded", "seconds", "seconds a success", "calls"),
        rows,
        note,
    )
    pages = [{"way": name, **asdict(image)} for name, report in reports.items() for image in report.images]
    return Section([compared, _parts(setting)], pages)


def _parts(setting: Setting) -> Table:
    """Measure the seconds of the parts of an iteration."""
    classifier, prior = load_classifier("efficientnet-lite0"), load_model(setting.model)
    (case,) = cases(setting, 1)
    canvas = fit_canvas(case.colour, max(prior.resolution, 224), prior.size_multiple)
    with torch.no_grad():
        latents = prior.encode(canvas.picture)
    f, level = (
        guided_denoiser(prior, prior.encode_prompts([""]), 1.0, canvas.scaled),
        prior.trained.schedule.level(0.25),
    )
    colours = pictures([case])

    def through_network() -> None:
        state = latents.clone().requires_grad_()
        torch.autograd.grad(f(state, level).x0.sum(), state)

    def through_classifier() -> None:
        seen = colours.clone().requires_grad_()
        torch.autograd.grad(classifier(seen).sum(), seen)

    def through_decoder() -> None:
        state = latents.clone().requires_grad_()
        torch.autograd.grad(prior.decode(state).sum(), state)

    def call() -> None:
        with torch.no_grad():
            f(latents, level)

    parts: dict[str, Callable[[], None]] = {
        "one call of the diffusion network": call,
        "the same with its gradient": through_network,
        "decoder and gradient": through_decoder,
        "classifier and gradient": through_classifier,
    }
    return Table("Where the time goes", ("part", "seconds"), [(name, _median(do)) for name, do in parts.items()])


def _median(do: Callable[[], None]) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[REPEATS // 2]
