"""Measures accelerations and previews without training of networks against the same solvers with fewer steps.

python -m benchmarks.accelerate [--only NAMES] [--limit N] [--json PATH] [--pictures DIR]
"""

import argparse
import sys
from pathlib import Path

from benchmarks import sections
from benchmarks.accelerate import parallel, parallel_networks, previews, race, sada, sada_networks
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "parallel": lambda limit, pictures: parallel.run(limit),
    "parallel-networks": lambda limit, pictures: parallel_networks.run(limit),
    "sada": lambda limit, pictures: sada.run(limit),
    "sada-networks": lambda limit, pictures: sada_networks.run(limit),
    "race": race.run,
    "previews": lambda limit, pictures: previews.run(limit),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.accelerate", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N seeds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="heat maps of the changes of blocks")
    arguments = parser.parse_args()
    sections.run(
        arguments.only.split(","), lambda name: SECTIONS[name](arguments.limit, arguments.pictures), arguments.json
    )


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
