"""Whether `fastdiff edit` says the truth: edits reported done or not, against measures that no application uses."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.edit.background_truth import is_shown
from benchmarks.edit.cases import SEED, Case, as_picture, judge, of_kind, psnr
from benchmarks.edit.edits import DEFAULT, editor_of, request_of
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table
from fastdiff.apps.edit.editor import Edited, Editor
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.models.recogniser import Recogniser
from fastdiff.training.edit.render import Renderer

EDITS = 50  # of each kind
MEASURED = ("word", "background")
SUBJECT = 0.98  # opacity from which on a pixel shows the subject alone
COLUMNS = (
    *("kind", "edits", "true", "done", "judge agrees", "nearer new", "all true", "failed, told done"),
    *("true, told missing", "what stays, dB"),
)


def run(model: str, limit: int | None) -> Section:
    rows: list[dict[str, Any]] = []
    strips = []
    for case, edited, row in measured(model, EDITS if limit is None else limit, SEED):
        rows.append(row)
        sides = (as_picture(case.before), as_picture(edited.colour[None]), as_picture(case.truth))
        said = "; ".join(edited.report.missing) or "done"
        strips.append(Strip(f"{case.target.caption}: {said}", float(row["true"]), sides))
    lines = [_line(kind, [row for row in rows if row["kind"] == kind]) for kind in MEASURED]
    table = Table(
        "What edit reports, in % of edits",
        COLUMNS,
        [*lines, _line("all", rows)],
        "true: of all edits; done: reported as done; judge agrees, nearer new, all true: of those; failed, told done: "
        "of all failures; true, told missing: of all true results. True is what the judge reads, nearer to the new "
        "shape than to the old one, with the wished background by colour distance. What stays: PSNR to the input of "
        "the background of a word swap, and of the subject before another background",
    )
    return Section([table], rows, strips)


def measured(model: str, count: int, seed: int) -> Iterator[tuple[Case, Edited, dict[str, Any]]]:
    """Yield `count` edits of each kind, with what edit reports and what is true."""
    renderer, editor, reader = Renderer(), editor_of(model, PRESETS[DEFAULT]), judge()
    shape = ShapeMeasure(renderer)
    for kind in MEASURED:
        for case in of_kind(kind, count, seed):
            edited = _edited(editor, case)
            truth = _truth(edited.colour[None], case, reader, shape)
            subject = torch.from_numpy(renderer.matte(case.source) >= SUBJECT)[None, None]
            stays = psnr(edited.colour[None], case.before, subject if kind == "background" else ~case.region)
            row = {"kind": kind, "done": not edited.report.missing, "stays": stays} | truth
            yield case, edited, row | dict(edited.report.verdict)


def _edited(editor: Editor, case: Case) -> Edited:
    return editor(case.before, request_of(case), 0, None, lambda share: None)


def _truth(colour: Tensor, case: Case, reader: Recogniser, shape: ShapeMeasure) -> dict[str, bool]:
    picture, region = as_picture(colour), ~case.region[0, 0].numpy()
    with torch.inference_mode():
        agrees = reader.read(colour)[0].concept == case.target.concept
    new, old = (shape(picture, scene.concept).psnr for scene in (case.target, case.source))
    shown = is_shown(picture, region, case.target.background, case.source.background)
    nearer = new > old or case.source.concept == case.target.concept
    return {"agrees": agrees, "nearer": nearer, "shown": shown, "true": agrees and nearer and shown}


def _line(kind: str, rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    done = [row for row in rows if row["done"]]
    failed, true = ([row for row in rows if row["true"] == value] for value in (False, True))
    return (
        kind,
        len(rows),
        _share(rows, "true"),
        _share(rows, "done"),
        *(_share(done, name) for name in ("agrees", "nearer", "true")),
        _share(failed, "done"),
        None if not true else 100 - (_share(true, "done") or 0.0),
        sum(row["stays"] for row in rows) / len(rows) if rows else None,
    )


def _share(rows: list[dict[str, Any]], name: str) -> float | None:
    return 100 * sum(row[name] for row in rows) / len(rows) if rows else None
