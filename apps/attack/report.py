"""The report of attack on every picture (`report.json`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastdiff.apps.attack.victim_examination import VictimExamination
from fastdiff.apps.measures import accuracy, mean, wilson_interval
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

    Labels are indices of classes, counted from 0. `after`, `confidence_after` and `success_after_png` are judged on the
    written file alone, read again; failures lie in a folder of their own. `calls` counts calls of the diffusion network
    for this picture, inversion included; `roundtrip_error` is the largest difference between latents and their
    reconstruction. `status` is attacked, skipped (the classifier is wrong beforehand, or sees the target already) or
    failed; `reason` says why, or what is worth knowing.
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
    success_after_png: bool | None = None
    iterations: int | None = None
    calls: int | None = None
    roundtrip_error: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    ssim_p10: float | None = None
    ciede2000: float | None = None
    linf: float | None = None
    low_frequencies: float | None = None
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

    @property
    def is_wrong_beforehand(self) -> bool:
        """True if the picture was skipped because the classifier is wrong about it."""
        return self.status == "skipped" and self.before != self.true

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "AttackReport":
        """From what `asdict` made of one, of this version or an earlier one that measured less."""
        known = {each.name: record[each.name] for each in fields(cls) if each.name in record}
        for name in ("transfer", "defences"):
            known[name] = {key: Trial(**trial) for key, trial in known[name].items()}
        return cls(**known)


MEASURES = (
    "psnr",
    "ssim",
    "ssim_p10",
    "ciede2000",
    "linf",
    "low_frequencies",
    "noise_change",
    "lpips",
    "roundtrip_error",
)


@dataclass(frozen=True)
class Report:
    """All pictures of a run, `earlier` of whose inputs an earlier run finished; `path` is where report.json is.

    `labelled` counts the pictures whose true label a table holds. `sheet` is the contact sheet, `left_out` what was
    found and is no input. `victim` is the examination of the attacked classifier, None where no picture could be read.
    `page` is report.html.
    """

    images: tuple[AttackReport, ...]
    exit_code: int
    path: Path
    earlier: int
    labelled: int
    sheet: Path | None
    left_out: tuple[LeftOut, ...]
    victim: VictimExamination | None
    page: Path

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, robust accuracy, rates (see `rate`), and means of measures.

        Means are over successes, and over all attacked pictures apart.
        """
        attacked = [image for image in self.images if image.status == "attacked"]
        successes = [image for image in attacked if image.success_after_png]
        flags = self.victim.flag_names if self.victim else []
        seconds = sum(image.seconds for image in attacked)
        return {
            "attacked": len(attacked),
            "skipped": sum(image.status == "skipped" for image in self.images),
            "failed": sum(image.status == "failed" for image in self.images),
            "labelled": self.labelled,
            "robust_accuracy": self._robust_accuracy(flags),
            **rate(len(successes), len(attacked), flags),
            "seconds": round(seconds, 3),
            "seconds_per_image": round(seconds / len(attacked), 3) if attacked else None,
            "calls": sum(image.calls or 0 for image in attacked),
            **_means(successes),
            "of_all_attacked": _means(attacked),
            "transfer": _rates([image.transfer for image in attacked], flags),
            "defences": _rates([image.defences for image in attacked], flags),
        }

    def _robust_accuracy(self, flags: Sequence[str]) -> dict[str, Any] | None:
        """Return the accuracy on attacked pictures; None unless all pictures have a label.

        Pictures that the classifier gets wrong beforehand count as wrong, those that failed to be read do not count,
        and those that it sees the target in beforehand are not attacked and do not count.
        """
        if not self.labelled or self.labelled < len(self.images):
            return None
        counted = [image for image in self.images if image.status == "attacked" or image.is_wrong_beforehand]
        right = sum(image.status == "attacked" and image.after == image.true for image in counted)
        return accuracy(right, len(counted), flags) if counted else None

    def to_json(self) -> str:
        """The text of `report.json`."""
        content = {
            "victim": asdict(self.victim) if self.victim else None,
            "images": [asdict(image) for image in self.images],
            "left_out": [asdict(each) for each in self.left_out],
            "summary": self.summary,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def rate(succeeded: int, of: int, flags: Sequence[str] = ()) -> dict[str, Any]:
    """The share of successes with its numerator and denominator, its 95 % interval, and the victim's red flags.

    The interval is Wilson's. It and the share are None of nothing.
    """
    return {
        "attack_success_rate": succeeded / of if of else None,
        "succeeded": succeeded,
        "of": of,
        "interval_95": wilson_interval(succeeded, of) if of else None,
        "flags": list(flags),
    }


def _means(images: Sequence[AttackReport]) -> dict[str, float | None]:
    return {name: mean([getattr(image, name) for image in images]) for name in MEASURES}


def _rates(images: Sequence[Mapping[str, Trial]], flags: Sequence[str]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for trials in images for name in trials)
    counted = {
        name: [trials[name].success for trials in images if name in trials and trials[name].right] for name in names
    }
    return {name: rate(sum(successes), len(successes), flags) for name, successes in counted.items()}
