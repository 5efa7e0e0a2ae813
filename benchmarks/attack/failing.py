"""The inputs of DATA/failing/attack, one row each: what they did to earlier versions, and what becomes of them.

Their networks are put on the path of Python, so they run in this process. Nothing is written into DATA.
"""

import contextlib
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.attack.cases import Setting
from benchmarks.attack.references import NormalisedClassifier
from benchmarks.result import Section, Table
from fastdiff.apps.attack.app import run as attack
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.report import Report
from fastdiff.models.classifier_loading import load_classifier
from fastdiff.solvers.errors import FastdiffError, UsageError

FOLDER = Path("failing", "attack")
PICTURE = Path("pictures", "4fc263d35a3ad3ee.png")
TRUE = 243  # its class


@dataclass(frozen=True)
class Case:
    """One input: what it did to earlier versions, and the options of the run."""

    name: str
    fault: str
    options: dict[str, Any] = field(default_factory=dict)


def _net(name: str, fault: str, **options: Any) -> Case:
    return Case(f"nets:{name}", fault, {"classifier": f"module:nets:{name}", **options})


CASES = (
    _net("softmax", "52 % shown as 0.17 %"),
    _net("scaled", "gradient 0: called robust"),
    _net("quant", "gradient 0: called robust"),
    _net("nangrad", "gradient not a number: called robust"),
    _net("half", "could not be loaded"),
    _net("double", "could not be loaded"),
    _net("yolo", "names of a mapping were its keys", target="boxer"),
    _net("train_fn", "ran in training mode, unsaid"),
    _net("resize", "is random, unsaid"),
    _net("folder", "target 242 hit the class named 316", target="242"),
    _net("a3", "fooled 1 of 1 of other classes", labels=Path("l3.csv"), transfer=("module:nets:d3",)),
    Case("--epsilon 0.03", "ended at 8/255", {"epsilon": 0.03}),
)


def run(setting: Setting) -> Section:
    folder = setting.source.parent / FOLDER
    if not (folder / PICTURE).is_file():
        raise UsageError(f"{folder} holds no {PICTURE}: give a DATA folder with failing/attack")
    out = setting.folder / "failing"
    rows: list[tuple[str, str, str]] = []
    with _importing_from(folder):
        for case in CASES[: setting.limit]:
            given = {"labels": Path("labels.csv"), **case.options}
            given["labels"] = folder / given["labels"]
            options = Options((str(folder / PICTURE),), method="pgd", out=out, force=True, **given)
            rows.append((case.name, case.fault, _outcome(lambda options=options: _told(attack(options)))))
        for method in ("pgd", "mifgsm"):
            outcome = _outcome(lambda method=method: _equal_pixels(folder, out, method))
            rows.append((f"torchattacks, {method}", "25 to 78 % equal values", outcome))
    rows.append(("saturated", "0 of 24 (torchattacks: 23)", _outcome(lambda: _saturated(folder / "saturated", out))))
    rows.append(("stale", "old numbers for new weights", _outcome(lambda: _stale(folder, out))))
    table = Table("Failing inputs", ("input", "fault of earlier versions", "now"), rows, "")
    return Section([table], [dict(zip(("input", "fault", "now"), row, strict=True)) for row in rows])


def _outcome(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except FastdiffError as error:
        return f"refused: {error}"


def _told(report: Report) -> str:
    """Say what the report says of a run."""
    summary, victim = report.summary, report.victim
    parts = [f"{summary['succeeded']} of {summary['of']} succeeded", *(image.reason or "" for image in report.images)]
    for image in report.images:
        if image.status == "attacked":
            parts.append(f"{image.confidence_before:.2g} > {image.after_name} {image.confidence_after:.2g}")
            parts.append(f"largest change {255 * (image.linf or 0):.0f}/255")
    parts += [f"red flag: {flag.name}" for flag in (victim.flags if victim else ())]
    parts += victim.notes if victim else ()
    parts += [f"{name} {rate['succeeded']} of {rate['of']}" for name, rate in summary["transfer"].items()]
    return "; ".join(filter(None, parts))


def _equal_pixels(folder: Path, out: Path, method: str) -> str:
    """Compare the file that ships with what torchattacks makes of the same picture and network."""
    import torchattacks

    options = Options((str(folder / PICTURE),), method=method, out=out, force=True, labels=folder / "labels.csv")
    report = attack(options)
    path = report.images[0].output
    assert path is not None
    net = NormalisedClassifier(load_classifier("efficientnet-lite0")).eval()
    bounds = {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10}
    if method == "pgd":
        theirs = torchattacks.PGD(net, random_start=False, **bounds)
    else:
        theirs = torchattacks.MIFGSM(net, decay=1.0, **bounds)
    pixels = np.asarray(Image.open(folder / PICTURE).convert("RGB"))
    clean = torch.from_numpy(pixels.copy()).movedim(-1, 0)[None].contiguous() / 255
    expected = (theirs(clean, torch.tensor([TRUE])).detach()[0].movedim(0, -1) * 255).round().numpy()
    equal = float((np.asarray(Image.open(path)) == expected).mean())
    return f"{equal:.2%} equal values"


def _saturated(folder: Path, out: Path) -> str:
    with _importing_from(folder):
        options = Options(
            (str(folder / "digits"),), labels=folder / "labels.csv", classifier="module:digits_net:build", method="pgd",
            epsilon=0.3, step=0.03, iterations=20, out=out / "saturated", force=True,
        )  # fmt: skip
        summary = attack(options).summary
    return f"{summary['succeeded']} of {summary['of']} succeeded"


def _stale(folder: Path, out: Path) -> str:
    """Attack, put other weights in the file that the function reads, and attack again."""
    place = out / "stale"
    place.mkdir(parents=True, exist_ok=True)
    for path in (folder / "stale").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    earlier, confidences = [], []
    for seed in (0, 1):
        with _importing_from(place, folder):
            net = importlib.import_module("nets").lite()
            torch.manual_seed(seed)
            torch.nn.init.normal_(next(each for each in net.modules() if isinstance(each, torch.nn.Linear)).weight)
            torch.save(net.state_dict(), place / "head.pt")
            report = attack(Options((str(folder / PICTURE),), classifier="module:my_fn:classify", method="pgd",
                                    iterations=2, out=out / "stale-out"))  # fmt: skip
            earlier.append(report.earlier)
            confidences.append(report.images[0].confidence_before)
    shutil.rmtree(out / "stale-out", ignore_errors=True)
    return f"{earlier[1]} of 1 done already, confidence {confidences[0]:.2g} and then {confidences[1]:.2g}"


@contextlib.contextmanager
def _importing_from(*folders: Path) -> Iterator[None]:
    """Find modules in these folders first, and forget those that were loaded there."""
    added = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = added
    try:
        yield
    finally:
        for path in added:
            sys.path.remove(path)
        for name, module in list(sys.modules.items()):
            if str(Path(getattr(module, "__file__", None) or "/").parent) in added:
                del sys.modules[name]
