"""Measures solvers: error by number of network evaluations, and host time per evaluation.

    python -m benchmarks.solvers [--only NAMES] [--calls N,N] [--limit N] [--json PATH] [--pictures DIR]

Errors are distances, relative, to the exact flow of problems in closed form, and to reference runs of 200 evaluations
on networks. They are measured on held-out seeds: grids are chosen and solvers tuned on others.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import sections
from benchmarks.result import Section
from benchmarks.solvers import flow, host, mixtures, networks, plots, statistics
from benchmarks.solvers.comparison import CALLS
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "host": host.run,
    "mixtures": mixtures.run,
    "flow": flow.run,
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
