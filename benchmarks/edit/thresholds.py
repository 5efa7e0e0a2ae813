"""Fits what `fastdiff edit` counts as seen to the bundled model, on scenes that no benchmark measures.

    python -m benchmarks.edit.thresholds [--model NAME] [--edits N] [PATH]

PATH is `data/verdict.json` by default. Run it after the model was trained anew. Every threshold starts where the
controls of the shape measure and true renders put it (the defaults of `Thresholds`), and becomes stricter until PRECISE
of the edits that pass are true.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.edit.cases import SEED
from benchmarks.edit.honesty import measured
from fastdiff.apps.edit.verdict import THRESHOLDS, Thresholds

PRECISE = 0.95  # share of the passing edits that are true
EDITS = 60  # of each kind
FEWEST = 10  # passing edits that a threshold may rest on

Row = dict[str, Any]


def fitted(rows: Sequence[Row]) -> Thresholds:
    """The thresholds for these edits: rows of `measured`."""
    swaps, painted = ([row for row in rows if row["kind"] == kind] for kind in ("word", "background"))
    default = Thresholds()
    concepts = [{"concept": row["concept_probability"], "true": row["agrees"]} for row in swaps]
    pairs = [{"edges": row["edges"], "true": row["agrees"] and row["nearer"]} for row in swaps]
    patterns = [{"pattern": row["background_pattern"], "true": row["shown"]} for row in painted]
    return Thresholds(
        **asdict(default)
        | {
            "concept": _strict(concepts, "concept", default.concept),
            "edges": _strict(pairs, "edges", default.edges),
            "pattern": _strict(patterns, "pattern", default.pattern),
        }
    )


def _strict(rows: Sequence[Row], name: str, least: float) -> float:
    """The smallest threshold, from `least` on, above which PRECISE of at least FEWEST rows are true, else `least`."""
    known = [row for row in rows if row[name] is not None]
    for bound in sorted({least, *(round(row[name], 3) for row in known if row[name] > least)}):
        passing = [row["true"] for row in known if row[name] >= bound]
        if len(passing) < FEWEST:
            break
        if sum(passing) >= PRECISE * len(passing):
            return float(bound)
    return least


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.edit.thresholds", description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).parents[2] / "data" / THRESHOLDS)
    parser.add_argument("--model", default="scenes", metavar="NAME", help="a model of scenes: a name")
    parser.add_argument("--edits", type=int, default=EDITS, metavar="N", help="edits of each kind")
    arguments = parser.parse_args()
    found = fitted([row for _, _, row in measured(arguments.model, arguments.edits, SEED + 2)])
    arguments.path.write_text(json.dumps(asdict(found), indent=1) + "\n")
    print(arguments.path.read_text(), end="")
