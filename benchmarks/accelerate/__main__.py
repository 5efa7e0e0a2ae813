"""Measures accelerations without training against the same solvers with fewer steps.

python -m benchmarks.accelerate [--only NAMES] [--limit N] [--json PATH]
"""

import argparse
import sys
from pathlib import Path

from benchmarks import sections
from benchmarks.accelerate import parallel, parallel_networks, sada, sada_networks
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "parallel": parallel.run,
    "parallel-networks": parallel_networks.run,
    "sada": sada.run,
    "sada-networks": sada_networks.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.accelerate", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N seeds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    arguments = parser.parse_args()
    sections.run(arguments.only.split(","), lambda name: SECTIONS[name](arguments.limit), arguments.json)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
