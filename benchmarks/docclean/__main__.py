"""Measures document clean-up on pages that never trained it.

    python -m benchmarks.docclean DATA [--only NAMES] [--limit N] [--json PATH] [--pictures DIR]

DATA holds `noisyoffice/{noisy,clean}`, `dibco/<year>/{images,gt}`, `pages/*.png` with hOCR and `failing/docclean`;
rendered pages use font families that are kept from training.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import pictures, sections
from benchmarks.docclean import blur, colour, dibco, failing, guard, harm, noisyoffice, predictors, speed, stage, unsure
from benchmarks.docclean.application import Setup
from benchmarks.docclean.trust import trust
from benchmarks.result import Section
from fastdiff.solvers.errors import FastdiffError
from fastdiff.solvers.solver_file import read_solver_file

SECTIONS = {
    "noisyoffice": noisyoffice.run,
    "dibco": dibco.run,
    "blur": blur.run,
    "unsure": unsure.run,
    "predictors": predictors.run,
    "harm": harm.run,
    "colour": colour.run,
    "guard": guard.run,
    "failing": failing.run,
    "trust": trust.run,
    "stage": stage.run,
    "speed": speed.run,
}


def main() -> None:
    arguments = _arguments()
    file = None if arguments.solver_file is None else read_solver_file(arguments.solver_file)
    setup = Setup(arguments.data, arguments.limit, arguments.weights, file)

    def keep(name: str, section: Section) -> None:
        if arguments.pictures:
            pictures.save(arguments.pictures, name, section.strips)
            pictures.save_pages(arguments.pictures, name, section.sheet)

    sections.run(arguments.only, lambda name: SECTIONS[name](setup), arguments.json, keep)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.docclean", description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with noisyoffice, dibco and pages")
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N pages of each group")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="in place of the bundled ones")
    parser.add_argument("--solver-file", type=Path, metavar="FILE", help="also compared in stage, where it fits")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="best, median and worst pages, and sheets")
    return parser.parse_args()


def _sections(names: str) -> list[str]:
    unknown = set(names.split(",")) - set(SECTIONS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown section {', '.join(unknown)}: any of {', '.join(SECTIONS)}")
    return names.split(",")


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
