"""The pictures of the benchmark, and runs of the application over them."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastdiff.apps.attack.app import run
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.photo import to_eight_bits
from fastdiff.apps.attack.report import Report
from fastdiff.apps.images import picture


@dataclass(frozen=True)
class Setting:
    """The source of pictures and labels, the prior, the most pictures, and the folder of results."""

    source: Path
    model: str
    limit: int | None
    folder: Path

    @property
    def labels(self) -> Path:
        return self.source / "labels.csv"

    def rows(self, most: int | None = None) -> list[dict[str, str]]:
        """Return the rows of the table, at most `most` and `limit`."""
        with self.labels.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return rows[: min(each for each in (most, self.limit, len(rows)) if each is not None)]

    def inputs(self, most: int | None = None) -> tuple[str, ...]:
        return tuple(str(self.source / "images" / row["image"]) for row in self.rows(most))

    def attack(self, name: str, most: int | None = None, **chosen: Any) -> Report:
        """Run the application over the pictures, with outputs in the folder `name`."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return run(self.options(name, most, **chosen))

    def options(self, name: str, most: int | None = None, **chosen: Any) -> Options:
        """Return the options of a run over the pictures, with outputs in the folder `name`."""
        out = self.folder / name
        return Options(self.inputs(most), labels=self.labels, model=self.model, out=out, force=True, **chosen)


@dataclass(frozen=True, eq=False)
class Case:
    """A picture, colours (1, 3, H, W) in [-1, 1], with its classes."""

    colour: Tensor
    true: int
    target: int


def cases(setting: Setting, most: int) -> list[Case]:
    return [
        Case(picture.read(Path(path)).colour, int(row["true_label"]), int(row["target_label"]))
        for path, row in zip(setting.inputs(most), setting.rows(most), strict=True)
    ]


def pictures(some: list[Case]) -> Tensor:
    """Return the pictures of cases, (B, 3, H, W) in [0, 1]."""
    return to_eight_bits(torch.cat([case.colour for case in some]))
