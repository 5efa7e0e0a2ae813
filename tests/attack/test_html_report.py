"""The page for a browser: self-contained, and safe against names with HTML in them."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from fastdiff.apps.attack import html_report
from fastdiff.apps.measures import accuracy
from fastdiff.cli.main import main

TAGS = {*("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "b", "ul", "li"),
        *("table", "tr", "th", "td", "section", "figure", "figcaption", "img")}  # fmt: skip
EVIL = "<img src=x onerror=alert(1)>'\"&"
NET = f"""
import torch
class Evil(torch.nn.Module):
    side, names = 32, ({EVIL!r}, "</title><script>green</script>", "blue")
    def forward(self, x):
        return 60 * x.mean((2, 3)) * (1 + torch.rand(1))
"""


class Page(HTMLParser):
    """The tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_stay_text_and_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil_net.py").write_text(NET)
    folder = Path("in")
    folder.mkdir()
    for number, name in enumerate(("a<b>c&.png", "'\"><script>alert(1)<.png")):
        Image.new("RGB", (40, 40), (130 + number, 120, 110)).save(folder / name)
    way = ("--classifier", "module:evil_net:Evil", "--method", "pgd", "--epsilon", "0.2", "--step", "0.02")
    assert main(["attack", str(folder), *way, "-o", "out"]) == 4  # the classifier is random
    text = Path("out/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= TAGS
    assert all(set(attributes) <= {"lang", "charset", "class", "alt", "src"} for _, attributes in page.tags)
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 6 and all(each and each.startswith("data:image/png;base64,") for each in pictures)
    assert Image.open(io.BytesIO(base64.b64decode(str(pictures[0]).partition(",")[2]))).size == (40, 40)
    assert EVIL in page.text and "a<b>c&.png" in page.text and "alert(1)<.png" in page.text
    summary = json.loads(Path("out/report.json").read_text())["summary"]
    assert f"{summary['succeeded']} of {summary['of']}" in page.text and "Red flag, random:" in page.text


def test_a_curve_falls_as_the_accuracy_does() -> None:
    points = [(0, accuracy(20, 20)), (2, accuracy(10, 20)), (8, accuracy(0, 20))]
    page = Page(html_report.curve(points))
    dots = [(float(each["cx"] or 0), float(each["cy"] or 0)) for tag, each in page.tags if tag == "circle"]
    assert dots[1][0] - dots[0][0] == pytest.approx((dots[2][0] - dots[0][0]) / 4, abs=0.1)
    assert dots[1][1] - dots[0][1] == pytest.approx((dots[2][1] - dots[0][1]) / 2, abs=0.1)
    assert dots[0][1] < dots[2][1] and all(f">{bound}<" in html_report.curve(points) for bound in (2, 8))
