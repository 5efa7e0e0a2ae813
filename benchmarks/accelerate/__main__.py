"""Measures accelerations, few-step pictures and previews against the same solvers with fewer steps.

python -m benchmarks.accelerate [--only NAMES] [--limit N] [--json PATH] [--pictures DIR]
"""

import argparse
import sys
from pathlib import Path

from benchmarks import pictures, sections
from benchmarks.accelerate import (
    few_calls,
    obedience,
    parallel,
    parallel_networks,
    previews,
    previews_training,
    race,
    sada,
    sada_networks,
)
from benchmarks.result import Section
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "parallel": lambda limit, pictures: parallel.run(limit),
    "parallel-networks": lambda limit, pictures: parallel_networks.run(limit),
    "sada": lambda limit, pictures: sada.run(limit),
    "sada-networks": lambda limit, pictures: sada_networks.run(limit),
    "race": race.run,
    "few-calls": lambda limit, pictures: few_calls.run(limit),
    "obedience": lambda limit, pictures: obedience.run(limit),
    "previews": lambda limit, pictures: previews.run(limit),
    "previews-training": lambda limit, pictures: previews_training.run(limit),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.accelerate", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N seeds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="heat maps of the changes of blocks, and sheets")
    arguments = parser.parse_args()

    def keep(name: str, section: Section) -> None:
        if arguments.pictures and section.strips:
            pictures.save_sheet(arguments.pictures, name, section.strips)

    def measure(name: str) -> Section:
        return SECTIONS[name](arguments.limit, arguments.pictures)

    sections.run(arguments.only.split(","), measure, arguments.json, keep)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
