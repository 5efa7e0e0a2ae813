"""Compares attack methods: success after the PNG round trip, naturalness, seconds, transfer, defences."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.attack.cases import Setting
from benchmarks.result import Section, Table
from fastdiff.apps.attack.report import Report

OTHERS = ("efficientnet-lite1", "efficientnet-lite2")
SLOW = 40  # pictures, of methods with a hundred network evaluations
METHODS: dict[str, dict[str, Any]] = {
    "natural": {},
    "natural, targeted": {"target": "csv"},
    "sca-strong": {"method": "sca-strong", "most": SLOW},
    "sca-official": {"method": "sca-official", "most": SLOW},
    "PGD 8/255": {"method": "pgd"},
    "MI-FGSM 16/255": {"method": "mifgsm", "epsilon": 16 / 255, "step": 1.6 / 255},
}
SHOWN = ("ssim", "ssim_p10", "noise_change", "ciede2000", "psnr", "linf", "roundtrip_error")


def run(setting: Setting) -> Section:
    reports = {name: setting.attack(_folder(name), transfer=OTHERS, **chosen) for name, chosen in METHODS.items()}
    pages = [{"way": name, **asdict(image)} for name, report in reports.items() for image in report.images]
    return Section([_rates(reports), _naturalness(reports), _others(reports)], pages)


def _rates(reports: Mapping[str, Report]) -> Table:
    rows = []
    for name, report in reports.items():
        summary, images = report.summary, report.images
        right = sum(image.before == image.true for image in images)
        rates = summary["attack_success_rate"], summary["seconds_per_image"]
        calls = summary["calls"] / max(summary["attacked"], 1)
        rows.append((name, right / len(images), _of(summary), *rates, calls))
    columns = ("way", "clean accuracy", "succeeded", "rate", "seconds", "calls")
    note = "Of the pictures that the classifier knows; seconds and calls of the diffusion network for a picture."
    return Table("Attacks on efficientnet-lite0, after the PNG round trip", columns, rows, note)


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
    return Table("What attacks on efficientnet-lite0 do to others, and behind defences", ("way", *names), rows, note)


def _of(summary: Mapping[str, Any]) -> str:
    low, high = summary["interval_95"] or (0, 1)
    return f"{summary['succeeded']}/{summary['of']} [{low:.2f}, {high:.2f}]"


def _folder(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").replace("/", "-")
