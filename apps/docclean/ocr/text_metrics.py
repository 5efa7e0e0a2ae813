"""Metrics of read text against its truth: normalisation, character and word errors, order-free words, dictionary hits.

Error rates are those of jiwer. Each depends on a normalisation profile, which is named with it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastdiff.solvers.errors import UsageError

TRUTH_SUFFIXES = (".txt", ".hocr", ".truth.hocr")
LARGEST_TRUTH = 32 * 2**20  # bytes; hOCR of a 300-page book is about 20 MiB

_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        "\u00ad": None,
    }
)


class WordScore(NamedTuple):
    """Order-free agreement of two multisets of words, each in [0, 1]."""

    precision: float
    recall: float
    f: float


def strict(text: str) -> str:
    """Replace runs of white space by one blank."""
    return " ".join(text.split())


def standard(text: str) -> str:
    """Apply NFKC, ASCII quotes and dashes, remove soft hyphens, then `strict`."""
    return strict(unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHY))


def relaxed(text: str) -> str:
    """Apply `standard`, then remove case and punctuation."""
    kept = (c for c in standard(text).casefold() if not unicodedata.category(c).startswith("P"))
    return strict("".join(kept))


PROFILES: dict[str, Callable[[str], str]] = {"strict": strict, "standard": standard, "relaxed": relaxed}


def cer(truth: str, read: str, profile: str = "standard") -> float:
    """Return the character error rate, (substituted + deleted + inserted) / characters of the truth; it may exceed 1.

    For an empty truth the rate is 0 if the reading is empty, else 1.
    """
    import jiwer

    truth, read = PROFILES[profile](truth), PROFILES[profile](read)
    return float(jiwer.cer(truth, read)) if truth else float(bool(read))


def wer(truth: str, read: str, profile: str = "standard") -> float:
    """Return the word error rate in reading order; empty truth as in `cer`."""
    import jiwer

    truth, read = PROFILES[profile](truth), PROFILES[profile](read)
    return float(jiwer.wer(truth, read)) if truth else float(bool(read))


def word_score(truth: str, read: str, profile: str = "standard") -> WordScore:
    """Return precision, recall and F of the words as multisets: independent of the reading order."""
    wanted, found = (Counter(PROFILES[profile](text).split()) for text in (truth, read))
    if not wanted and not found:
        return WordScore(1.0, 1.0, 1.0)
    shared, n_wanted, n_found = (wanted & found).total(), wanted.total(), found.total()
    return WordScore(
        precision=shared / n_found if n_found else 0.0,
        recall=shared / n_wanted if n_wanted else 0.0,
        f=2 * shared / (n_wanted + n_found),
    )


def dictionary_hits(text: str) -> int:
    """Return the number of words of three or more letters in wordfreq's English list."""
    from wordfreq import zipf_frequency

    return sum(zipf_frequency(word.lower(), "en") > 0 for word in re.findall(r"[A-Za-z]{3,}", standard(text)))


def truth_file(folder: Path, stem: str) -> Path | None:
    """Return the first of STEM.txt, STEM.hocr, STEM.truth.hocr in `folder`."""
    named = (folder / f"{stem}{suffix}" for suffix in TRUTH_SUFFIXES)
    return next((path for path in named if path.is_file()), None)


def true_text(folder: Path, stem: str, page: int) -> str | None:
    """Return the true text of one page (0 is the first), from the `truth_file` of the document called `stem`.

    Form feeds separate pages in .txt; `ocr_page` elements are the pages of hOCR. None if the file or its page does not
    exist. Raises UsageError for a file that is too large, not UTF-8, or not hOCR.
    """
    path = truth_file(folder, stem)
    if path is None:
        return None
    text = _read(path)
    pages = text.split("\f") if path.suffix == ".txt" else _hocr_pages(text, path)
    return pages[page] if page < len(pages) else None


def _read(path: Path) -> str:
    if (size := path.stat().st_size) > LARGEST_TRUTH:
        raise UsageError(f"truth {path} has {size} bytes: at most {LARGEST_TRUTH} are read")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"truth {path} is not UTF-8 text: save it as UTF-8") from error


def _hocr_pages(text: str, path: Path) -> list[str]:
    """Return the words of each page in document order.

    The HTML parser resolves no external entities and expands none of its own.
    """
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    root = etree.fromstring(text.encode(), parser) if text.strip() else None
    pages = [] if root is None else root.xpath(f"//*[{_has_class('ocr_page')}]")
    if not pages:
        raise UsageError(f"truth {path} is not hOCR: an element of class ocr_page is needed")
    return [
        " ".join("".join(word.itertext()) for word in page.xpath(f".//*[{_has_class('ocrx_word')}]")) for page in pages
    ]


def _has_class(name: str) -> str:
    return f"contains(concat(' ', normalize-space(@class), ' '), ' {name} ')"
