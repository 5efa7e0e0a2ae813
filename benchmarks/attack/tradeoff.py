"""The trade-off between naturalness and strength: transfer and JPEG survival against SSIM, attack by attack.

Attacks are made on efficientnet-lite0, each at several strengths, and judged on lite1 and lite2, which no attack sees.
Random changes of the same strength are the control.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.attack.cases import Case, Setting, cases, pictures
from benchmarks.attack.references import NormalisedClassifier
from benchmarks.result import Section, Table
from fastdiff.apps.attack import PRESETS, Attack
from fastdiff.apps.attack.defences import jpeg
from fastdiff.apps.attack.local_curves import LocalCurves
from fastdiff.apps.attack.naturalness import compare
from fastdiff.apps.attack.presets import Preset
from fastdiff.apps.attack.space import eight_bits
from fastdiff.apps.attack.textured_pixels import TexturedPixels
from fastdiff.apps.images.picture import to_uint8
from fastdiff.apps.measures import wilson_interval
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.models.classifier_loading import load_classifier

PICTURES = 200
SURROGATE, JUDGES = "efficientnet-lite0", ("efficientnet-lite1", "efficientnet-lite2")
BOUNDS = (4, 8, 16)  # 1/255, of attacks with a bound on pixels
TEXTURES = (0.25, 0.5, 1.0)  # of `transfer`
CURVES = (0.3, 0.45, 0.6)  # of `semantic`
LATENTS = (0.3, 0.6, 1.2)  # of `natural`, run to the last iterate
AT = 0.90  # SSIM at which attacks are compared

Attacker = Callable[[Tensor, Tensor], Tensor]  # pictures (1, 3, H, W) in [0, 1] and classes (1,) to attacked pictures


def run(setting: Setting) -> Section:
    classifiers = {name: load_classifier(name) for name in (SURROGATE, *JUDGES)}
    some = [case for case in cases(setting, PICTURES) if _seen(classifiers[SURROGATE], pictures([case])) == case.true]
    rows: list[dict[str, Any]] = []
    for name, strengths in _attacks(classifiers[SURROGATE]).items():
        for strength, attack in strengths.items():
            rows.append({"attack": name, "strength": strength, **_measured(attack, some, classifiers)})
    _plot(rows, setting.folder / "tradeoff.png")
    return Section([_points(rows), _compared(rows)], rows)


def _attacks(target: ClassifierTarget) -> dict[str, dict[float, Attacker]]:
    """Return the attacks by name and strength."""
    import torchattacks

    net = NormalisedClassifier(target).eval()

    def bounded(make: Callable[..., Attacker], **settings: Any) -> dict[float, Attacker]:
        return {bound: make(net, eps=bound / 255, alpha=bound / 1020, **settings) for bound in BOUNDS}

    def ours(preset: Preset, sizes: tuple[float, ...]) -> dict[float, Attacker]:
        return {size: Attack(target, preset, epsilon=size, step=size / 5) for size in sizes}

    return {
        "PGD": bounded(torchattacks.PGD, steps=10, random_start=False),
        "MI-FGSM": bounded(torchattacks.MIFGSM, steps=10, decay=1.0),
        "DI-TI-MI-FGSM": bounded(torchattacks.TIFGSM, steps=10, decay=1.0, resize_rate=0.9, diversity_prob=0.7),
        "natural": ours(replace(PRESETS["natural"], early_stop=False, iterations=20), LATENTS),
        "transfer": ours(PRESETS["transfer"], TEXTURES),
        "semantic": ours(PRESETS["semantic"], CURVES),
        "random signs": {bound: partial(_random_signs, bound) for bound in BOUNDS},
        "random textures": {size: partial(_random_textures, size) for size in TEXTURES},
        "random light": {size: partial(_random_light, size) for size in CURVES},
    }


def _random_signs(bound: float, clean: Tensor, true: Tensor) -> Tensor:
    return clean + bound / 255 * _signs(clean)


def _random_textures(size: float, clean: Tensor, true: Tensor) -> Tensor:
    return TexturedPixels.of(clean).decode(size * _signs(clean))


def _random_light(size: float, clean: Tensor, true: Tensor) -> Tensor:
    space = LocalCurves.of(clean)
    return space.decode(size * _signs(space.unperturbed))


def _signs(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).sign()


def _measured(attack: Attacker, some: list[Case], classifiers: dict[str, ClassifierTarget]) -> dict[str, Any]:
    """Attack each picture by itself; judge colours of 8 bits."""
    fooled = transferred = known = survived = 0
    likeness, colours, smooth = list[float](), list[float](), list[float]()
    for number, case in enumerate(some):
        torch.manual_seed(number)
        clean = pictures([case])
        attacked = eight_bits(attack(clean, torch.tensor([case.true])).detach())
        before, after = (to_uint8(2 * each[0] - 1) for each in (clean, attacked))
        found = compare(before, after)
        likeness.append(np.nan if found.ssim is None else found.ssim)
        colours.append(found.ciede2000)
        smooth.append(np.nan if found.low_frequencies is None else found.low_frequencies)
        if _seen(classifiers[SURROGATE], attacked) != case.true:
            fooled += 1
            defended = torch.from_numpy(jpeg(after).copy()).movedim(-1, 0)[None].contiguous() / 255
            survived += _seen(classifiers[SURROGATE], defended) != case.true
        for judge in (classifiers[name] for name in JUDGES):
            if _seen(judge, clean) == case.true:
                known += 1
                transferred += _seen(judge, attacked) != case.true
    return {
        "ssim": float(np.mean(likeness)), "ciede2000": float(np.mean(colours)), "low": float(np.nanmean(smooth)),
        "success": fooled / len(some),
        "transfer": transferred / known, "transferred": transferred, "known": known,
        "jpeg": survived / fooled if fooled else None,
    }  # fmt: skip


def _seen(classifier: ClassifierTarget, colours: Tensor) -> int:
    with torch.no_grad():
        return int(classifier(colours).argmax())


def _points(rows: list[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        low, high = wilson_interval(row["transferred"], row["known"])
        share = f"{row['transfer']:.2f} [{low:.2f}, {high:.2f}]"
        measures = (row["ssim"], row["ciede2000"], row["low"])
        lines.append((f"{row['attack']}, {row['strength']:g}", *measures, row["success"], share, row["jpeg"]))
    columns = ("attack", "ssim", "ciede2000", "low frequencies", "success", "transfer", "jpeg-75")
    note = (
        "Low frequencies: their share of the energy of the change. Transfer to lite1 and lite2, of pictures that these "
        "know when clean; jpeg-75 is of successes."
    )
    return Table(f"Strength against naturalness, attacks on {SURROGATE}", columns, lines, note)


def _compared(rows: list[dict[str, Any]]) -> Table:
    """Return transfer and JPEG survival at the SSIM `AT`, by lines between the neighbouring strengths."""
    lines = []
    for name in dict.fromkeys(row["attack"] for row in rows):
        mine = sorted((row for row in rows if row["attack"] == name), key=lambda row: row["ssim"])
        likeness = [row["ssim"] for row in mine]
        inside = likeness[0] <= AT <= likeness[-1]
        cells = [float(np.interp(AT, likeness, [row[key] or 0.0 for row in mine])) if inside else None
                 for key in ("transfer", "jpeg")]  # fmt: skip
        lines.append((name, *cells))
    return Table(
        f"At a mean SSIM of {AT:.2f}", ("attack", "transfer", "jpeg-75"), lines, "Between strengths; - outside."
    )


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharex=True, sharey=True)
    for axis, key, title in zip(axes, ("transfer", "jpeg"), ("transfer", "survival of JPEG 75"), strict=True):
        for name in dict.fromkeys(row["attack"] for row in rows):
            mine = [row for row in rows if row["attack"] == name and row[key] is not None]
            axis.plot([row["ssim"] for row in mine], [row[key] for row in mine], "o-", label=name)
        axis.set(xlabel="mean SSIM", title=title, ylim=(-0.02, 1.02))
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
