"""Measures attacks on the bundled classifier: how often, how natural, how fast, and what they transfer to.

    python -m benchmarks.attack DATA [--model NAME] [--only methods,speed,gradients,references,tradeoff,failing]
                                [--limit N] [--json PATH] [--pictures DIR]

DATA holds `nips17/images/*.png` and `nips17/labels.csv` (image, true_label, target_label), and `failing/attack`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import sections
from benchmarks.attack import failing, gradients, methods, references, speed, tradeoff
from benchmarks.attack.cases import Setting
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "methods": methods.run,
    "speed": speed.run,
    "gradients": gradients.run,
    "references": references.run,
    "tradeoff": tradeoff.run,
    "failing": failing.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.attack", description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="photos", metavar="NAME", help="the prior: a name or a folder")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N pictures")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep attacked pictures and contact sheets here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = arguments.pictures or Path(passing)
        setting = Setting(arguments.data / "nips17", arguments.model, arguments.limit, folder)
        sections.run(arguments.only.split(","), lambda name: SECTIONS[name](setting), arguments.json)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
