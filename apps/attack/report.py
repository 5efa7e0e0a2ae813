"""The report of attack on every picture (`report.json`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastdiff.apps.measures import mean
from fastdiff.apps.running.inputs import LeftOut


@dataclass(frozen=True)
class Trial:
    """A classifier that was not attacked, or a defence in front of the one that was.

    `right` says that the clean picture was seen as what it is; only then `success` counts: the attacked picture
    reaches the goal.
    """

    right: bool
    success: bool


@dataclass(frozen=True)
class AttackReport:
    """One picture; None where something does not apply or was not measured.

    Labels are indices of classes, counted from 0. `success` is judged on the colours that were found,
    `success_after_png` on the file, read again. `calls` counts calls of the diffusion network for this picture,
    inversion included; `roundtrip_error` is the largest difference between latents and their reconstruction.
    `status` is attacked, skipped (the classifier is wrong beforehand, or sees the target already) or failed; `reason`
    says why, or what is worth knowing.
    """

    input: str
    output: str | None = None
    difference: str | None = None
    true: int | None = None
    true_name: str | None = None
    target: int | None = None
    target_name: str | None = None
    before: int | None = None
    before_name: str | None = None
    after: int | None = None
    after_name: str | None = None
    confidence_before: float | None = None
    confidence_after: float | None = None
    success: bool | None = None
    success_after_png: bool | None = None
    iterations: int | None = None
    calls: int | None = None
    roundtrip_error: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    ssim_p10: float | None = None
    ciede2000: float | None = None
    linf: float | None = None
    noise_change: float | None = None
    lpips: float | None = None
    seconds: float = 0.0
    seed: int | None = None
    caption: str | None = None
    classifier: str | None = None
    model: str | None = None
    method: str | None = None
    status: str = "failed"
    reason: str | None = None
    transfer: Mapping[str, Trial] = field(default_factory=dict)
    defences: Mapping[str, Trial] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "AttackReport":
        """From what `asdict` made of one."""
        known = {each.name: record[each.name] for each in fields(cls)}
        for name in ("transfer", "defences"):
            known[name] = {key: Trial(**trial) for key, trial in known[name].items()}
        return cls(**known)


MEASURES = ("psnr", "ssim", "ssim_p10", "ciede2000", "linf", "noise_change", "lpips", "roundtrip_error")


@dataclass(frozen=True)
class Report:
    """All pictures of a run, `earlier` of whose inputs an earlier run finished; `path` is where report.json is.

    `labelled` counts the pictures whose true label a table holds. `sheet` is the contact sheet, `left_out` what was
    found and is no input.
    """

    images: tuple[AttackReport, ...]
    exit_code: int
    path: Path
    earlier: int
    labelled: int
    sheet: Path | None
    left_out: tuple[LeftOut, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, rates with their numerators and denominators, and the mean of each measure over attacked pictures."""
        attacked = [image for image in self.images if image.status == "attacked"]
        seconds = sum(image.seconds for image in attacked)
        return {
            "attacked": len(attacked),
            "skipped": sum(image.status == "skipped" for image in self.images),
            "failed": sum(image.status == "failed" for image in self.images),
            "labelled": self.labelled,
            **rate([bool(image.success_after_png) for image in attacked]),
            "seconds": round(seconds, 3),
            "seconds_per_image": round(seconds / len(attacked), 3) if attacked else None,
            "calls": sum(image.calls or 0 for image in attacked),
            **{name: mean([getattr(image, name) for image in attacked]) for name in MEASURES},
            "transfer": _rates([image.transfer for image in attacked]),
            "defences": _rates([image.defences for image in attacked]),
        }

    def to_json(self) -> str:
        """The text of `report.json`."""
        content = {
            "images": [asdict(image) for image in self.images],
            "left_out": [asdict(each) for each in self.left_out],
            "summary": self.summary,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def rate(successes: Sequence[bool]) -> dict[str, Any]:
    """The share of successes, None of nothing, with how many they are of how many."""
    share = sum(successes) / len(successes) if successes else None
    return {"attack_success_rate": share, "succeeded": sum(successes), "of": len(successes)}


def _rates(images: Sequence[Mapping[str, Trial]]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for trials in images for name in trials)
    return {
        name: rate([trials[name].success for trials in images if name in trials and trials[name].right])
        for name in names
    }
