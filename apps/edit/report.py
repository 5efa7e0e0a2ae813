"""The report of edit on every picture (`report.json`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastdiff.apps.measures import mean
from fastdiff.apps.running.inputs import LeftOut


@dataclass(frozen=True)
class EditReport:
    """One edit; None where something was not measured.

    `attempts` counts tries from other noise, each bolder, of which the surest is kept, `calls` network calls in all of
    them, each on all rows at once, `seconds` the time from opening to closing the files. `roundtrip_error` is the
    distance of the regenerated latents from the picture's, relative to their norm, where the source was sampled beside
    the edit: nought where offsets held it; `psnr_unedited` (dB) compares the output with the input where it is less
    than half edited, `codec_ceiling` (dB) the picture with what the model's codec can represent of it. `reason` says
    what went wrong, or what is worth knowing. `status` is "edited", "partly edited" or "failed"; `missing` says in
    clauses what was asked for and is not seen, by the measurements of `verdict` (`verdict.Verdict`; empty where edits
    are not judged). `acceleration` says what the kept attempt's sampling cost (`acceleration_report.measured`; empty
    without acceleration).
    """

    input: str
    output: str | None = None
    source: str | None = None
    prompt: str | None = None
    model: str | None = None
    preset: str | None = None
    inversion: str | None = None
    attempts: int = 1
    calls: int = 0
    seconds: float = 0.0
    roundtrip_error: float | None = None
    psnr_unedited: float | None = None
    codec_ceiling: float | None = None
    seed: int | None = None
    status: str = "failed"
    reason: str | None = None
    missing: Sequence[str] = ()
    verdict: Mapping[str, float | None] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    acceleration: Mapping[str, Any] = field(default_factory=dict)


MEASURES = ("roundtrip_error", "psnr_unedited", "codec_ceiling")


@dataclass(frozen=True)
class Report:
    """All edits of a run, `earlier` of whose inputs an earlier run finished; `path` is where report.json is,
    `left_out` what was found and is no input."""

    edits: tuple[EditReport, ...]
    exit_code: int
    path: Path
    earlier: int
    left_out: tuple[LeftOut, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, totals, and the mean of each measure over the edits where it was measured."""
        return {
            "edits": len(self.edits),
            "edited": sum(edit.status == "edited" for edit in self.edits),
            "partly edited": sum(edit.status == "partly edited" for edit in self.edits),
            "failed": sum(edit.status == "failed" for edit in self.edits),
            "calls": sum(edit.calls for edit in self.edits),
            "seconds": round(sum(edit.seconds for edit in self.edits), 3),
        } | {name: mean([getattr(edit, name) for edit in self.edits]) for name in MEASURES}

    def to_json(self) -> str:
        """The text of `report.json`."""
        content = {
            "edits": [asdict(edit) for edit in self.edits],
            "left_out": [asdict(each) for each in self.left_out],
            "summary": self.summary,
        }
        return json.dumps(content, indent=1) + "\n"
