"""What docclean did to every page, as data for people and programs (`report.json`)."""

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
    """One page; None where something was not measured.

    `page` counts from 1 and is None where the document could not be opened. Error rates (`cer`, `wer`), word F and
    confidence are fractions, characters and dictionary words counts, each before and after cleaning. `calls` is the
    number of network calls, `seconds` the time for reading, cleaning and scoring. `untouched` says what a page that
    passed through shows instead of a scan ("text", "drawings", "nothing to clean"). `regions` are the parts whose
    content cleaning changed, `recovered` the words that can be read only on the cleaned page; boxes are in pixels of
    the page's picture. A page is "partly cleaned" where some regions were put back.
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
    """The report of a page from its record, which `dataclasses.asdict` made and a JSON file held."""
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
    """The report of a page of several pictures: cleaned where one was; `reason` names the others' verdicts.

    The page is partly cleaned where one of the cleaned pictures is. Counts are summed and confidences averaged, regions
    and recovered words are those of all pictures. Error rates, which are about the whole page's text, are None.
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
    """All pages of a run, `earlier` of whose inputs an earlier run finished; `path` is where report.json is,
    `left_out` what was found and is no input."""

    pages: tuple[PageReport, ...]
    exit_code: int
    path: Path
    earlier: int
    left_out: tuple[LeftOut, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, totals, and the mean of each measure over the pages where it was measured.

        A page that was kept counts after as before.
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
        """The text of `report.json`."""
        content = {
            "pages": [asdict(page) for page in self.pages],
            "left_out": [asdict(each) for each in self.left_out],
            "summary": self.summary,
        }
        return _NUMBERS.sub(_in_one_line, json.dumps(content, indent=1)) + "\n"

    def _count(self, status: Status) -> int:
        return sum(page.status == status for page in self.pages)


def _written(page: PageReport, name: str) -> float | None:
    """A measure of the page as it was written."""
    value: float | None = getattr(page, name.replace("_after", "_before") if page.status == "kept" else name)
    return value


_NUMBERS = re.compile(r"\[\n[\d\s,-]+\]")  # of a box; strings of JSON hold no line break


def _in_one_line(found: re.Match[str]) -> str:
    return " ".join(found.group().split()).replace("[ ", "[").replace(" ]", "]")
