"""Robust accuracy by the bound on the change of a colour: one run for every bound, one report for all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastdiff.apps.attack import app, html_report
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.outputs import page_of
from fastdiff.apps.attack.report import AttackReport, Report
from fastdiff.apps.measures import accuracy
from fastdiff.apps.running import batch
from fastdiff.apps.running.inputs import LeftOut
from fastdiff.apps.running.run import locked_run
from fastdiff.solvers.errors import UsageError

STEPS = 4  # of an iteration to the bound, as many as those of pgd


@dataclass(frozen=True)
class CurveReport:
    """The runs by rising bounds in 1/255, and the accuracies under attack within each, the clean one at 0 first.

    A picture that falls within a bound counts as fallen within the larger ones. Pictures without a label count by the
    predicted class. `path` is where report.json is, `page` where report.html is.
    """

    runs: tuple[tuple[float, Report], ...]
    path: Path
    page: Path

    @property
    def points(self) -> tuple[tuple[float, dict[str, Any]], ...]:
        """Bounds with accuracies as `measures.accuracy` makes them; none if no picture could be attacked."""
        first = self.runs[0][1]
        flags = sorted({flag for _, report in self.runs if report.victim for flag in report.victim.flag_names})
        counted = [image for image in first.images if image.status == "attacked" or image.is_wrong_beforehand]
        if not counted:
            return ()
        standing = {image.input for image in counted if image.status == "attacked"}
        points = [(0.0, accuracy(len(standing), len(counted), flags))]
        for bound, report in self.runs:
            standing &= {image.input for image in report.images if _stands(image)}
            points.append((bound, accuracy(len(standing), len(counted), flags)))
        return tuple(points)

    @property
    def exit_code(self) -> int:
        return max(report.exit_code for _, report in self.runs)

    @property
    def earlier(self) -> int:
        return sum(report.earlier for _, report in self.runs)

    @property
    def left_out(self) -> Sequence[LeftOut]:
        return self.runs[0][1].left_out

    def to_json(self) -> str:
        """The text of `report.json`."""
        content = {
            "points": [{"epsilon_255": bound, **found} for bound, found in self.points],
            "labelled": self.runs[0][1].labelled,
            "reports": {f"{bound:g}": str(report.path) for bound, report in self.runs},
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def options_by_bound(options: Options) -> list[tuple[float, Options]]:
    """Return the options of each bound's run, into a folder of its own; without bounds those given, under 0."""
    if not options.epsilons:
        return [(0.0, options)]
    assert options.out is not None
    return [
        (
            bound,
            replace(
                options,
                epsilons=(),
                epsilon=bound / 255,
                step=bound / 255 / STEPS if options.step is None else options.step,
                out=options.out / f"epsilon-{bound:g}",
                report=None,
            ),
        )
        for bound in sorted(set(options.epsilons))
    ]


def run(options: Options, watch: batch.Watch | None = None) -> CurveReport:
    """Attack all pictures within every bound of `options.epsilons`, and write report.json and report.html for all.

    Each bound's own outputs are in a folder in `options.out`. Raises as `app.run` does.
    """
    if not options.epsilons:
        raise UsageError("give the bounds of a curve with --epsilons")
    runs = []
    for bound, each in options_by_bound(options):
        assert each.out is not None
        each.out.mkdir(parents=True, exist_ok=True)
        runs.append((bound, app.run(each, watch)))
    job = replace(app.job(options), want=lambda item, named: [])
    with locked_run(job) as prepared:
        page = prepared.claim(page_of(prepared.report.output))
        report = CurveReport(tuple(runs), prepared.report.output, page.output)
        prepared.write_report(report.to_json())
        prepared.write(page, _html(report))
    return report


def _html(report: CurveReport) -> str:
    points = report.points
    rows = {f"Robust accuracy within {bound:g}/255" if bound else "Clean accuracy": found for bound, found in points}
    blocks = [html_report.examination(report.runs[0][1].victim), "<h2>Robust accuracy</h2>"]
    blocks += [html_report.curve(points), html_report.rates(rows)] if points else ["<p>No picture was attacked.</p>"]
    for bound, each in report.runs:
        blocks += [f"<h2>Within {bound:g}/255</h2>", *app.html_pictures(each)]
    return html_report.page("fastdiff attack: robust accuracy by bound", blocks)


def _stands(image: AttackReport) -> bool:
    return image.status == "attacked" and image.after == image.true
