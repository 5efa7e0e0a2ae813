"""The report of docclean on every page, for people and programs (`report.json`)."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from fastdiff.apps.docclean.imaging.regions import RecoveredWord, Region
from fastdiff.apps.measures import mean
from fastdiff.apps.running.inputs import LeftOut

Status = Literal["cleaned", "partly cleaned", "kept", "failed"]
WRITTEN: tuple[Status, ...] = ("cleaned", "partly cleaned")  # statuses of pages whose pixels changed


@dataclass(frozen=True)
class PageReport:
    """The report of one page; a measure that was not taken is None.

    `page` counts from 1 and is None if the document could not be opened. Error rates (`cer`, `wer`), word F and
    confidence are fractions; characters and dictionary words are counts; each is given before and after cleaning.
    `calls` is the number of network evaluations, `seconds` the time for reading, cleaning and scoring. `untouched`
    names the content of a page that passed through ("text", "drawings", "nothing to clean"). `regions` are the parts
    whose content cleaning changed, `recovered` the words that an engine reads only on the cleaned page; boxes are in
    pixels of the page's picture. A page is "partly cleaned" if some regions were put back.
    """

    input: str
    page: int | None = None
    output: str | None = None
    task: str | None = None
    task_reason: str | None = None
    status: Status = "failed"
    reason: str | None = None
    untouched: str | None = None
    engine: str | None = None
    cer_before: float | None = None
    cer_after: float | None = None
    wer_before: float | None = None
    wer_after: float | None = None
    word_f_before: float | None = None
    word_f_after: float | None = None
    confidence_before: float | None = None
    confidence_after: float | None = None
    chars_before: int | None = None
    chars_after: int | None = None
    dictionary_before: int | None = None
    dictionary_after: int | None = None
    calls: int = 0
    seconds: float = 0.0
    regions: tuple[Region, ...] = ()
    recovered: tuple[RecoveredWord, ...] = ()


def read_page_report(record: Mapping[str, Any]) -> PageReport:
    """Return the report of a page from its record: the dictionary of `dataclasses.asdict`, as a JSON file holds it."""
    regions = tuple(Region(**{**each, "box": tuple(each["box"])}) for each in record["regions"])
    recovered = tuple(RecoveredWord(**{**each, "box": tuple(each["box"])}) for each in record["recovered"])
    return PageReport(**{**record, "regions": regions, "recovered": recovered})


MEASURES = tuple(
    f"{name}_{when}"
    for name in ("cer", "wer", "word_f", "confidence", "chars", "dictionary")
    for when in ("before", "after")
)


ERRORS = tuple(name for name in MEASURES if name.startswith(("cer", "wer", "word_f")))
COUNTS = tuple(name for name in MEASURES if name.startswith(("chars", "dictionary")))


def join_reports(pictures: Sequence[PageReport]) -> PageReport:
    """Return the report of a page of several pictures: cleaned if one of them was.

    The page is partly cleaned if one of the cleaned pictures is. `reason` names the verdicts on the pictures. Counts
    are summed, confidences averaged, regions and recovered words collected. Error rates are None: they are about the
    text of the whole page.
    """
    if len(pictures) == 1:
        return pictures[0]
    cleaned = [picture for picture in pictures if picture.status in WRITTEN]
    partly = [picture for picture in cleaned if picture.status == "partly cleaned"]
    reasons = [
        f"picture {number} of {len(pictures)}: {picture.reason}"
        for number, picture in enumerate(pictures, 1)
        if picture.reason
    ]
    measures: dict[str, Any] = dict.fromkeys(MEASURES)
    for name in (name for name in MEASURES if name not in ERRORS):
        values = [value for picture in pictures if (value := getattr(picture, name)) is not None]
        measures[name] = (sum(values) if name in COUNTS else mean(values)) if values else None
    calls = sum(picture.calls for picture in pictures)
    return replace(
        (partly or cleaned or pictures)[0],
        reason="; ".join(reasons) or None,
        calls=calls,
        regions=tuple(chain.from_iterable(picture.regions for picture in pictures)),
        recovered=tuple(chain.from_iterable(picture.recovered for picture in pictures)),
        **measures,
    )


@dataclass(frozen=True)
class Report:
    """All pages of a run.

    `earlier` is the number of inputs that an earlier run finished, `path` is that of report.json, and `left_out` are
    files that are no inputs.
    """

    pages: tuple[PageReport, ...]
    exit_code: int
    path: Path
    earlier: int
    left_out: tuple[LeftOut, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, totals, and the mean of each measure over the pages that have it.

        For a page that was kept, the measures after cleaning are those before.
        """
        seconds = sum(page.seconds for page in self.pages)
        done = len(self.pages) - self._count("failed")
        return {
            "pages": len(self.pages),
            "cleaned": self._count("cleaned"),
            "partly_cleaned": self._count("partly cleaned"),
            "kept": self._count("kept"),
            "failed": self._count("failed"),
            "untouched": sum(page.untouched is not None for page in self.pages),
            "calls": sum(page.calls for page in self.pages),
            "seconds": round(seconds, 3),
            "pages_per_minute": round(60 * done / seconds, 2) if seconds else None,
        } | {name: mean([_written(page, name) for page in self.pages]) for name in MEASURES}

    def to_json(self) -> str:
        """Return the text of `report.json`."""
        content = {
            "pages": [asdict(page) for page in self.pages],
            "left_out": [asdict(each) for each in self.left_out],
            "summary": self.summary,
        }
        return _NUMBERS.sub(_in_one_line, json.dumps(content, indent=1)) + "\n"

    def _count(self, status: Status) -> int:
        return sum(page.status == status for page in self.pages)


def _written(page: PageReport, name: str) -> float | None:
    """Return a measure of the page as it was written."""
    value: float | None = getattr(page, name.replace("_after", "_before") if page.status == "kept" else name)
    return value


_NUMBERS = re.compile(r"\[\n[\d\s,-]+\]")  # of a box; strings of JSON hold no line break


def _in_one_line(found: re.Match[str]) -> str:
    return " ".join(found.group().split()).replace("[ ", "[").replace(" ]", "]")
