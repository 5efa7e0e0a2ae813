"""Measures edits of scenes that never trained the bundled backbone, each against its exact answer.

    python -m benchmarks.edit [--model NAME] [--only NAMES] [--limit N] [--json PATH] [--pictures DIR]

The true answer to an edit is the same scene rendered with the other words; it needs the Noto Color Emoji font.
No part of the whole run are `--only defaults`, which ranks settings of the default preset, and `--only sweep`, which
ranks those that the paper of DiT4Edit leaves open; neither uses the scenes that `edits` measures.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import pictures, sections
from benchmarks.edit import defaults, edits, honesty, images, previews, sizes, sweep
from benchmarks.result import Section
from fastdiff.solvers.errors import FastdiffError

SECTIONS = {
    "edits": edits.run,
    "images": images.run,
    "sizes": sizes.run,
    "previews": previews.run,
    "honesty": honesty.run,
    "defaults": defaults.run,
    "sweep": sweep.run,
}
WHOLE = ("edits", "images", "sizes", "previews", "honesty")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.edit", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="scenes", metavar="NAME", help="a model of scenes: a name or a folder")
    parser.add_argument("--only", default=",".join(WHOLE), metavar="NAMES", help=", ".join(SECTIONS))
    parser.add_argument("--limit", type=int, metavar="N", help="at most N scenes")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="contact sheets, from best to worst")
    arguments = parser.parse_args()

    def keep(name: str, section: Section) -> None:
        if arguments.pictures:
            pictures.save_sheet(arguments.pictures, name, section.strips)

    def measure(name: str) -> Section:
        return SECTIONS[name](arguments.model, arguments.limit)

    sections.run(arguments.only.split(","), measure, arguments.json, keep)


if __name__ == "__main__":
    try:
        main()
    except FastdiffError as error:
        sys.exit(f"{error}")
