"""Measures what solvers buy and what they cost: error against calls of a network, and time around them.

    python -m benchmarks.solvers [--only NAMES] [--calls N,N] [--limit N] [--json PATH] [--pictures DIR]

Errors are relative distances to the exact flow of problems in closed form, and to 200 calls on networks, on seeds that
no grid was chosen on and no solver was tuned on.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import sections
from benchmarks.result import Section
from benchmarks.solvers import host, mixtures, networks, plots, statistics
from benchmarks.solvers.race import CALLS
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "host": host.run,
    "mixtures": mixtures.run,
    "docclean": networks.docclean,
    "scenes": networks.scenes,
    "statistics": statistics.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.solvers", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--calls", default=",".join(map(str, CALLS)), metavar="N,N", help="of a run of the network")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N seeds to measure on")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="plots of errors against calls")
    arguments = parser.parse_args()
    calls = [int(each) for each in arguments.calls.split(",")]

    def keep(name: str, section: Section) -> None:
        if arguments.pictures:
            plots.save(arguments.pictures, section)

    def measure(name: str) -> Section:
        return SECTIONS[name](calls, arguments.limit)

    sections.run(arguments.only.split(","), measure, arguments.json, keep)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
