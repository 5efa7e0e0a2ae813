"""Compares attack methods: success after the PNG round trip, naturalness, costs, transfer, defences."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusers import ModelMixin
from torch import nn

from benchmarks.attack.cases import Setting, cases, pictures
from benchmarks.attack.stopwatch import REST, stopwatch
from benchmarks.result import Section, Table
from fastdiff.apps.attack.attacker import Attacker, AttackTarget
from fastdiff.apps.attack.options import FROM_TABLE
from fastdiff.apps.attack.report import Report
from fastdiff.models.classifier_loading import load_classifier

ATTACKED = "efficientnet-lite0"
OTHERS = ("efficientnet-lite1", "efficientnet-lite2")
SOME = 40  # pictures, of methods that section "tradeoff" measures on all
SLOW = 16  # of methods with a hundred network evaluations
TIMED = 3  # pictures, for the parts of the time
METHODS: dict[str, dict[str, Any]] = {
    "natural": {},
    "natural, targeted": {"target": FROM_TABLE},
    "sca-strong": {"method": "sca-strong", "most": SLOW},
    "sca-official": {"method": "sca-official", "most": SLOW},
    "diffattack": {"method": "diffattack", "most": SLOW},
    "transfer": {"method": "transfer", "most": SOME},
    "semantic": {"method": "semantic", "most": SOME},
    "PGD 8/255": {"method": "pgd"},
    "MI-FGSM 16/255": {"method": "mifgsm", "epsilon": 16 / 255, "step": 1.6 / 255},
}
SHOWN = ("ssim", "ssim_p10", "noise_change", "ciede2000", "psnr", "linf", "roundtrip_error")


def run(setting: Setting) -> Section:
    reports = {name: setting.attack(_folder(name), transfer=OTHERS, **chosen) for name, chosen in METHODS.items()}
    pages = [{"way": name, **asdict(image)} for name, report in reports.items() for image in report.images]
    tables = [_rates(reports), _costs(reports), _parts(setting), _naturalness(reports), _others(reports)]
    return Section(tables, pages)


def _rates(reports: Mapping[str, Report]) -> Table:
    rows = []
    for name, report in reports.items():
        right = sum(image.before == image.true for image in report.images)
        summary = report.summary
        rows.append((name, right / len(report.images), _of(summary), summary["attack_success_rate"]))
    columns = ("way", "clean accuracy", "succeeded", "rate")
    note = "Of the pictures that the classifier knows."
    return Table(f"Attacks on {ATTACKED}, after the PNG round trip", columns, rows, note)


def _costs(reports: Mapping[str, Report]) -> Table:
    rows = []
    for name, report in reports.items():
        summary = report.summary
        totals = summary["seconds"], summary["calls"]
        by_picture, by_success = (
            [total / count if count else None for total in totals]
            for count in (summary["attacked"], summary["succeeded"])
        )
        rows.append((name, *by_picture, *by_success))
    columns = ("way", "seconds", "calls", "seconds a success", "calls a success")
    note = (
        f"For an attacked picture, and for a success, failures included: seconds, those of measures and of verdicts by "
        f"{1 + len(OTHERS)} classifiers included, and calls of the diffusion network."
    )
    return Table("What a success costs", columns, rows, note)


def _parts(setting: Setting) -> Table:
    """Attack the first pictures that the classifier knows again, in memory, and count the seconds of the parts."""
    classifier = load_classifier(ATTACKED)
    known = [case for case in cases(setting, 2 * TIMED) if int(classifier(pictures([case])).argmax()) == case.true]

    def part_of(module: nn.Module) -> str | None:
        if module is classifier.net:
            return "classifier"
        return "network" if isinstance(module, ModelMixin) else None

    parts, rows = ("network", "classifier", REST), []
    for name, chosen in METHODS.items():
        options, some = setting.options(_folder(name), **chosen), known[:TIMED]
        attacker = Attacker(options.settings, classifier)
        with stopwatch(part_of) as seconds:
            for number, case in enumerate(some):
                target = case.target if options.target else None
                attacker([AttackTarget(Path(), pictures([case]), number, case.true, target)], lambda share: None)
        spent = [seconds[part] / len(some) for part in parts]
        rows.append((name, sum(spent), *spent))
    note = (
        f"Without verdicts and measures, {TIMED} pictures. The network is the prior's; the rest are its autoencoder, "
        "changes of colours, and steps."
    )
    return Table("Where the seconds of a picture go, gradients included", ("way", "seconds", *parts), rows, note)


def _naturalness(reports: Mapping[str, Report]) -> Table:
    rows = [
        (name, *(means[measure] for measure in SHOWN), whole["ssim"])
        for name, report in reports.items()
        for means, whole in [(report.summary, report.summary["of_all_attacked"])]
    ]
    noise = {name: report.summary["noise_change"] for name, report in reports.items()}
    note = ""
    if noise["PGD 8/255"]:
        share = {name: value / noise["PGD 8/255"] for name, value in noise.items() if "natural" in name and value}
        note = ", ".join(f"{name}: {value:.3f} of PGD's change of noise" for name, value in share.items())
    return Table("Means over successes", ("way", *SHOWN, "ssim of all attacked"), rows, note)


def _others(reports: Mapping[str, Report]) -> Table:
    names = [*OTHERS, "jpeg-75", "bit-depth-4", "resize-pad"]
    rows = []
    for method, report in reports.items():
        summary = report.summary["transfer"] | report.summary["defences"]
        cells = [f"{summary[name]['attack_success_rate']:.3f} ({_of(summary[name])})" if name in summary else None
                 for name in names]  # fmt: skip
        rows.append((method, *cells))
    note = "Of attacked pictures that the other one, or the defended one, knows when clean."
    return Table(f"What attacks on {ATTACKED} do to others, and behind defences", ("way", *names), rows, note)


def _of(summary: Mapping[str, Any]) -> str:
    low, high = summary["interval_95"] or (0, 1)
    return f"{summary['succeeded']}/{summary['of']} [{low:.2f}, {high:.2f}]"


def _folder(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").replace("/", "-")
