"""Tables of the section "trust": remaining content and removed dirt, by kind, by strength and in total."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.result import Cell, Table

RELIT = "light undone, dirt left"  # the given page under even light: the reference that needs no cleaning
FORCED = "--force-clean"
GATES = ("gate easyocr", "gate rapidocr")
SHARES = ("colours", "hair lines", "pencil")
STATUSES = ("cleaned", "partly cleaned", "kept")
ONE_IN = 60  # words of a page, of which one may be lost
LEAST_SIMILARITY = 0.9
LEAST = {"colours": 0.95, "hair lines": 0.99, "pencil": 0.95}
LEAST_REMOVED = 0.8

Row = dict[str, Any]


def tables(rows: list[Row]) -> list[Table]:
    by_kind = [_by(rows, method, "kind") for method in (*GATES, FORCED)]
    return [*by_kind, *(_by(rows, method, "strength") for method in (*GATES, FORCED)), _totals(rows)]


def allowed(row: Row) -> int:
    """Return the words that a page may lose: one in every whole ONE_IN, but at least one."""
    return max(1, row["words"] // ONE_IN)


def removed(rows: Sequence[Row]) -> float | None:
    """Return the removed share of the dirt outside content: 1 - RMSE after / RMSE before, over all pages together."""
    before, after = (sum(row[name] for row in rows) for name in ("dirt before", "dirt"))
    return 1 - float(np.sqrt(after / before)) if before else None


def share(rows: Sequence[Row], name: str) -> float | None:
    """Return the kept share of a kind of content, over all pages together; None without any."""
    kept, whole = (sum(row[name][index] for row in rows) for index in (0, 1))
    return kept / whole if whole else None


def score(row: Row) -> float:
    """Return the lowest of a page's measures, each relative to its target; lower is worse."""
    values = [1 - row["lost"] / (4 * allowed(row))]
    values += [kept / whole / LEAST[name] for name in SHARES for kept, whole in [row[name]] if whole]
    values += [similarity / LEAST_SIMILARITY for similarity in row["pictures"]]
    return min(values) + 0.1 * (removed([row]) or 0)


def _by(rows: list[Row], method: str, key: str) -> Table:
    of_method = [row for row in rows if row["way"] == method]
    relit = [row for row in rows if row["way"] == RELIT]
    lines: list[tuple[Cell, ...]] = []
    for value in dict.fromkeys(row[key] for row in of_method):
        mine = [row for row in of_method if row[key] == value]
        control = [row for row in relit if row[key] == value]
        lines.append((value, len(mine), *_cells(mine, control)))
    lines.append(("all", len(of_method), *_cells(of_method, relit)))
    return Table(
        f"Trust, {method}, by {key}: what stays, and the share of the dirt that goes",
        (key, "pages", "cleaned/partly/kept", "lost/read", "control", "beyond", "most", "over", "recovered", "wrong",
         "colours", "(relit)", "SSIM", "least", "(relit)", "hair lines", "pencil", "dirt gone"),
        lines,
        "lost/read: words; control: lost where the evened truth is read; beyond: lost, though read there; "
        f"most: lost on one page; over: pages that lose more than one word in {ONE_IN}; (relit): {RELIT}",
    )  # fmt: skip


def _cells(rows: list[Row], relit: list[Row]) -> tuple[Cell, ...]:
    similarities, control = _similarities(rows), _similarities(relit)
    return (
        _statuses(rows),
        f"{_sum(rows, 'lost')}/{_sum(rows, 'read')}",
        _sum(rows, "lost by control"),
        _sum(rows, "lost beyond control"),
        max(row["lost"] for row in rows),
        _over(rows),
        _sum(rows, "recovered"),
        _sum(rows, "recovered wrong"),
        share(rows, "colours"),
        share(relit, "colours"),
        float(np.mean(similarities)) if similarities else None,
        min(similarities, default=None),
        min(control, default=None),
        share(rows, "hair lines"),
        share(rows, "pencil"),
        removed(rows),
    )


def _totals(rows: list[Row]) -> Table:
    methods = (*GATES, FORCED, RELIT)
    of = [[row for row in rows if row["way"] == method] for method in methods]
    reading = [mine if "words" in mine[0] else None for mine in of]

    def counted(count: Any) -> list[Cell]:
        return [count(mine) if mine is not None else None for mine in reading]

    fair = [each >= LEAST_SIMILARITY for each in _similarities(of[-1])]
    lines: list[tuple[Cell, ...]] = [
        ("pages that lose more than one word in 60", "0", *counted(_over)),
        ("of these, beyond control", "", *counted(lambda mine: _over(mine, "lost beyond control"))),
        ("of the evened truth (control)", "", *counted(lambda mine: _over(mine, "lost by control"))),
        ("most words lost on a page", "1 in 60", *counted(lambda mine: max(row["lost"] for row in mine))),
        ("words lost, of those read", "", *counted(lambda mine: _sum(mine, "lost") / max(_sum(mine, "read"), 1))),
        ("words read only after", "", *counted(lambda mine: _sum(mine, "gained"))),
        ("recovered words, wrong ones", "", *counted(_recovered)),
        *((f"{name} kept", f"{LEAST[name]}", *(share(mine, name) for mine in of)) for name in SHARES),
        (f"pictures of SSIM {LEAST_SIMILARITY}, of {sum(fair)} that have it relit", "1.0",
         *(_similar(mine, fair) for mine in of)),
        ("least SSIM of these", f"{LEAST_SIMILARITY}", *(_least(mine, fair) for mine in of)),
        ("dirt outside content that is gone", f"{LEAST_REMOVED}", *(removed(mine) for mine in of)),
        ("pages cleaned/partly/kept", "", *counted(_statuses)),
    ]  # fmt: skip
    return Table(f"Trust: all {len(of[0])} pages", ("measure", "target", *methods), lines)


def _similarities(rows: list[Row]) -> list[float]:
    return [similarity for row in rows for similarity in row["pictures"]]


def _similar(rows: list[Row], fair: list[bool]) -> float | None:
    """Return the share of the fair pictures with LEAST_SIMILARITY or more."""
    values = [value for value, counts in zip(_similarities(rows), fair, strict=True) if counts]
    return float(np.mean(np.array(values) >= LEAST_SIMILARITY)) if values else None


def _least(rows: list[Row], fair: list[bool]) -> float | None:
    return min((value for value, counts in zip(_similarities(rows), fair, strict=True) if counts), default=None)


def _statuses(rows: list[Row]) -> str:
    return "/".join(str(sum(row["status"] == status for row in rows)) for status in STATUSES)


def _recovered(rows: list[Row]) -> str:
    return f"{_sum(rows, 'recovered')}, {_sum(rows, 'recovered wrong')}"


def _over(rows: list[Row], name: str = "lost") -> int:
    return sum(row[name] > allowed(row) for row in rows)


def _sum(rows: list[Row], name: str) -> int:
    return sum(row[name] for row in rows)
