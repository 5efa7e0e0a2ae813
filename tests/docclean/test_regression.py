"""The regression suite of docclean: the real command on the shipped samples and weights, against stored quality.

Stored numbers are of this suite's own settings; after better weights, look at the pages and then store the new ones.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from fastdiff.cli.main import main

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
STORED = json.loads((Path(__file__).parent / "stored.json").read_text())
TOLERANCE = 0.02  # of word F and confidence: processors differ in the last bits, readers a little more


@pytest.fixture(scope="module", params=["easyocr", "rapidocr"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp(request.param)
    arguments = [SAMPLES, "--out", out, "--truth", SAMPLES / "truth", "--ocr", request.param, "--seed", "0"]
    assert main(["docclean", *map(str, arguments)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert all(Path(page["output"]).exists() for page in report["pages"])
    return request.param, {f"{Path(page['input']).name} {page['page']}": page for page in report["pages"]}


def test_every_sample_page_is_reported(run: tuple[str, dict[str, Any]]) -> None:
    engine, pages = run
    assert set(pages) == set(STORED[engine])


def test_status_and_task_are_the_stored_ones(run: tuple[str, dict[str, Any]]) -> None:
    engine, pages = run
    for name, stored in STORED[engine].items():
        assert (pages[name]["status"], pages[name]["task"]) == (stored["status"], stored["task"]), name


@pytest.mark.parametrize("measure", ["word_f_after", "confidence_after"])
def test_quality_is_at_least_the_stored_one(run: tuple[str, dict[str, Any]], measure: str) -> None:
    engine, pages = run
    for name, stored in STORED[engine].items():
        assert pages[name][measure] >= stored[measure] - TOLERANCE, name
